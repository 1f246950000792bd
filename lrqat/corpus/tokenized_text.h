// Texts as one sequence of tokens. Of instruction data and conversations, the tokens of prompts are seen but
// not scored.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lrqat/base/progress.h"
#include "lrqat/corpus/documents.h"
#include "lrqat/text/tokenizer.h"

namespace lrqat::corpus {

struct TokenizedDocument {
  std::vector<std::int32_t> tokens;
  std::vector<std::uint8_t> scored;  // one a token, 0: it is seen, not learned
};

// With what the tokenizer's template puts around a text, and one end-of-text token at the end where the
// tokenizer has one. The text is tokenized as a whole, as it will be read; a token with a part in a scored
// span is scored, the end-of-text token where the end of the text is.
TokenizedDocument tokenize(const Document& document, const text::Tokenizer& tokenizer);

struct TokenizedText {
  struct Stretch {
    std::size_t begin = 0;  // its first token
    double weight = 1.0;    // data_files.h
  };
  std::vector<std::int32_t> tokens;
  std::vector<std::uint8_t> scored;  // one a token, 0: a token of a prompt; empty: all are scored
  std::vector<Stretch> stretches;    // one a file; empty: all weigh 1
};

// Texts to train on: the documents of all files that `data` names (data_files.h), each tokenized for itself,
// joined. UsageError without any name.
TokenizedText read_training_text(const std::vector<std::string>& data, const text::Tokenizer& tokenizer,
                                 const ReadOptions& options, ProgressReporter& progress);

// A text to measure on, of one file, folder or pattern: rows with prompts joined and masked as in training;
// anything else as one text, tokenized once (rows and files joined by a blank line). UsageError for a weight.
TokenizedText read_evaluation_text(const std::string& data, const text::Tokenizer& tokenizer,
                                   const ReadOptions& options, ProgressReporter& progress);

}  // namespace lrqat::corpus
