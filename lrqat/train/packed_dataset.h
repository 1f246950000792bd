// Text as sequences of equal length: its tokens (corpus/tokenized_text.h), cut; a partial last sequence is
// dropped. The tokens of prompts are seen but not scored. B sequences, L sequence length.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "lrqat/base/progress.h"
#include "lrqat/text/tokenizer.h"

namespace lrqat::corpus {
struct ReadOptions;
}

namespace lrqat::train {

class PackedDataset {
 public:
  // Error where the files give less than one sequence, or sequence_length < 2.
  static PackedDataset from_files(const std::vector<std::string>& data, const text::Tokenizer& tokenizer,
                                  std::int64_t sequence_length, const corpus::ReadOptions& options,
                                  ProgressReporter& progress);
  // corpus::read_evaluation_text in windows of `context` tokens. Error where it has not even one window, or
  // none with a token that is scored.
  static PackedDataset for_evaluation(const std::string& data, const text::Tokenizer& tokenizer,
                                      std::int64_t context, const corpus::ReadOptions& options,
                                      ProgressReporter& progress);
  // From tokens that are there already, e.g. of a test. tokens.size() is cut down to a multiple of L.
  // scored: one a token, 0: a token of a prompt; empty: all are scored. weights: one a sequence; empty:
  // all 1.
  PackedDataset(std::vector<std::int32_t> tokens, std::int64_t sequence_length,
                std::vector<std::uint8_t> scored = {}, std::vector<double> weights = {});

  std::int64_t size() const;  // sequences
  std::int64_t sequence_length() const { return sequence_length_; }
  at::Tensor batch(std::span<const std::int64_t> indices) const;  // [B, L] int64
  // The same with kIgnoreIndex in place of tokens that are not to be predicted.
  at::Tensor targets(std::span<const std::int64_t> indices) const;
  // Predictions of sequence `index` that count: its first token is none, nor are tokens of prompts.
  std::int64_t scored(std::int64_t index) const;
  std::int64_t scored() const;  // of all
  // How often sequence `index` is to be seen where one of weight 1 is seen once.
  double weight(std::int64_t index) const;
  // These sequences, in this order, each with weight 1; at least one.
  PackedDataset subset(std::span<const std::int64_t> indices) const;
  // sha256 of the tokens, the length and the weights: a resumed run must see the same data.
  const std::string& fingerprint() const { return fingerprint_; }

 private:
  std::vector<std::int32_t> tokens_;
  std::vector<std::uint8_t> scored_;
  std::vector<double> weights_;
  std::int64_t sequence_length_;
  std::string fingerprint_;
};

}  // namespace lrqat::train
