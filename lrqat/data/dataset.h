// Training text as token sequences. Documents are tokenized once, joined (an end-of-text token after each
// where the tokenizer has one) and cut into sequences of equal length; a partial last one is dropped. Of
// instruction data, the tokens of prompts are seen but not scored. B sequences, L sequence length.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "lrqat/base/progress.h"
#include "lrqat/text/tokenizer.h"

namespace lrqat::data {

// A text to learn; the first prompt_bytes of it (a prompt) are seen but not learned.
struct Document {
  std::string text;
  std::size_t prompt_bytes = 0;
};

// The documents of a file, by its content: rows of JSON objects (rows.h has the layouts; Alpaca's and Dolly's
// are put into alpaca_prompt), or UTF-8 text, cut at lines that hold nothing but "<|endoftext|>". Error
// naming file and line where it cannot be read; other kinds of file and files without any text are Errors
// too. Rows without an answer are left out.
std::vector<Document> read_training_documents(const std::filesystem::path& path);
std::vector<std::string> read_documents(const std::filesystem::path& path);  // their texts

// The prompt that the Alpaca repository trains with; the answer follows directly.
std::string alpaca_prompt(const std::string& instruction, const std::string& input);

// All of a file's text as one string, unchanged but for a byte order mark (perplexity tokenizes a text once,
// as a whole). Rows are joined by a blank line.
std::string read_text(const std::filesystem::path& path);

// A text to measure on, as tokens: instruction data joined and masked as in training, any other file as one
// text (read_text), tokenized once.
struct EvaluationText {
  std::vector<std::int32_t> tokens;
  std::vector<std::uint8_t> scored;  // one a token, 0: a token of a prompt; empty: all are scored
};
EvaluationText read_evaluation_text(const std::filesystem::path& file, const text::Tokenizer& tokenizer);

class PackedDataset {
 public:
  // Error where the files give less than one sequence, or sequence_length < 2.
  static PackedDataset from_files(const std::vector<std::filesystem::path>& files,
                                  const text::Tokenizer& tokenizer, std::int64_t sequence_length,
                                  ProgressReporter& progress);
  // read_evaluation_text in windows of `context` tokens. Error where it has not even one window, or none with
  // a token that is scored.
  static PackedDataset for_evaluation(const std::filesystem::path& file, const text::Tokenizer& tokenizer,
                                      std::int64_t context);
  // From tokens that are there already, e.g. of a test. tokens.size() is cut down to a multiple of L.
  // scored: one a token, 0: a token of a prompt; empty: all are scored.
  PackedDataset(std::vector<std::int32_t> tokens, std::int64_t sequence_length,
                std::vector<std::uint8_t> scored = {});

  std::int64_t size() const;  // sequences
  std::int64_t sequence_length() const { return sequence_length_; }
  at::Tensor batch(std::span<const std::int64_t> indices) const;  // [B, L] int64
  // The same with kIgnoreIndex in place of tokens that are not to be predicted.
  at::Tensor targets(std::span<const std::int64_t> indices) const;
  // Predictions of sequence `index` that count: its first token is none, nor are tokens of prompts.
  std::int64_t scored(std::int64_t index) const;
  std::int64_t scored() const;  // of all
  // These sequences, in this order; at least one.
  PackedDataset subset(std::span<const std::int64_t> indices) const;
  // sha256 of the tokens and the length: a resumed run must see the same data.
  const std::string& fingerprint() const { return fingerprint_; }

 private:
  std::vector<std::int32_t> tokens_;
  std::vector<std::uint8_t> scored_;
  std::int64_t sequence_length_;
  std::string fingerprint_;
};

}  // namespace lrqat::data
