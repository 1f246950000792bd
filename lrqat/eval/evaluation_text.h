// The text that models are measured on, as the tokens of one of them.
#pragma once

#include <filesystem>

#include "lrqat/eval/windows.h"
#include "lrqat/model/open.h"
#include "lrqat/corpus/tokenized_text.h"

namespace lrqat::eval {

class EvaluationText {
 public:
  // Error where the file holds no text (corpus/documents.h).
  EvaluationText(std::filesystem::path file, const model::OpenedModel& model);

  ScoredText tokens() const { return {text_.tokens, text_.scored}; }  // as long as this object lives
  // True of instruction data: prompts are seen, not scored.
  bool answers_only() const { return !text_.scored.empty(); }

  // Error where `other` makes other tokens of the file: token by token only models with one vocabulary can be
  // compared.
  void require_same_tokens(const model::OpenedModel& other) const;

 private:
  std::filesystem::path file_, model_;
  corpus::TokenizedText text_;
};

}  // namespace lrqat::eval
