// Text files as one sequence of tokens. Of instruction data, the tokens of prompts are seen but not scored.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "lrqat/base/progress.h"
#include "lrqat/text/tokenizer.h"

namespace lrqat::corpus {

struct TokenizedText {
  std::vector<std::int32_t> tokens;
  std::vector<std::uint8_t> scored;  // one a token, 0: a token of a prompt; empty: all are scored
};

// Texts to train on: their documents (documents.h), each tokenized for itself, joined with an end-of-text
// token after each where the tokenizer has one. UsageError without any file.
TokenizedText read_training_text(const std::vector<std::filesystem::path>& files, const text::Tokenizer& tokenizer,
                                 ProgressReporter& progress);

// A text to measure on: instruction data joined and masked as in training, any other file as one text
// (read_text), tokenized once.
TokenizedText read_evaluation_text(const std::filesystem::path& file, const text::Tokenizer& tokenizer);

}  // namespace lrqat::corpus
