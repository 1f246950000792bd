// The text that models are measured on, as the tokens of one of them.
#pragma once

#include <filesystem>

#include "lrqat/corpus/tokenized_text.h"
#include "lrqat/eval/windows.h"
#include "lrqat/model/open.h"

namespace lrqat::eval {

class EvaluationText {
 public:
  // data, format: the file, folder or pattern, and its `data-format` (corpus/tokenized_text.h). Error where
  // there is no text.
  EvaluationText(std::string data, const std::string& format, const model::OpenedModel& model,
                 ProgressReporter& progress);

  ScoredText tokens() const { return {text_.tokens, text_.scored}; }  // as long as this object lives
  // True of instruction data: prompts are seen, not scored.
  bool answers_only() const { return !text_.scored.empty(); }

  // Error where `other` makes other tokens of the file: token by token only models with one vocabulary can be
  // compared.
  void require_same_tokens(const model::OpenedModel& other) const;

 private:
  std::string data_;
  corpus::ReadOptions options_;
  std::filesystem::path model_;
  corpus::TokenizedText text_;
};

}  // namespace lrqat::eval
