#include "lrqat/eval/evaluation_text.h"

#include "lrqat/base/error.h"

namespace lrqat::eval {

EvaluationText::EvaluationText(std::filesystem::path file, const model::OpenedModel& model)
    : file_(std::move(file)),
      model_(model.path),
      text_(corpus::read_evaluation_text(file_, model.tokenizer())) {}

void EvaluationText::require_same_tokens(const model::OpenedModel& other) const {
  const corpus::TokenizedText own = corpus::read_evaluation_text(file_, other.tokenizer());
  if (text_.tokens == own.tokens && text_.scored == own.scored) return;
  fail(
      "the tokenizers of ", model_.string(), " and ", other.path.string(),
      " give different tokens for this text; token by token only models with one vocabulary can be compared");
}

}  // namespace lrqat::eval
