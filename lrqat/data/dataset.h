// Training text as token sequences. Documents are tokenized once, joined (an end-of-text token after each
// where the tokenizer has one) and cut into sequences of equal length; a partial last one is dropped. B
// sequences, L sequence length.
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

// The documents of a file, by its ending: .jsonl (one JSON object a line, its "text"), anything else is UTF-8
// text, cut at lines that hold nothing but "<|endoftext|>". Error naming file and line where it cannot be
// read; files without any text are an Error too.
std::vector<std::string> read_documents(const std::filesystem::path& path);

// All of a file's text as one string, unchanged (perplexity tokenizes a text once, as a whole). For .jsonl
// the documents joined by a blank line.
std::string read_text(const std::filesystem::path& path);

class PackedDataset {
 public:
  // Error where the files give less than one sequence, or sequence_length < 2.
  static PackedDataset from_files(const std::vector<std::filesystem::path>& files,
                                  const text::Tokenizer& tokenizer, std::int64_t sequence_length,
                                  ProgressReporter& progress);
  // From tokens that are there already, e.g. of a test. tokens.size() is cut down to a multiple of L.
  PackedDataset(std::vector<std::int32_t> tokens, std::int64_t sequence_length);

  std::int64_t size() const;  // sequences
  std::int64_t sequence_length() const { return sequence_length_; }
  at::Tensor batch(std::span<const std::int64_t> indices) const;  // [B, L] int64
  // sha256 of the tokens and the length: a resumed run must see the same data.
  const std::string& fingerprint() const { return fingerprint_; }

 private:
  std::vector<std::int32_t> tokens_;
  std::int64_t sequence_length_;
  std::string fingerprint_;
};

}  // namespace lrqat::data
