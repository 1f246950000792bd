#include "lrqat/eval/evaluation_text.h"

#include "lrqat/base/error.h"

namespace lrqat::eval {

EvaluationText::EvaluationText(std::string data, const std::string& format, const model::OpenedModel& model,
                               ProgressReporter& progress)
    : data_(std::move(data)), options_{.format = format}, model_(model.path) {
  corpus::check_data_format(options_.format, options_.setting);
  text_ = corpus::read_evaluation_text(data_, model.tokenizer(), options_, progress);
}

void EvaluationText::require_same_tokens(const model::OpenedModel& other) const {
  SilentProgress silent;
  const corpus::TokenizedText own = corpus::read_evaluation_text(data_, other.tokenizer(), options_, silent);
  if (text_.tokens == own.tokens && text_.scored == own.scored) return;
  fail(
      "the tokenizers of ", model_.string(), " and ", other.path.string(),
      " give different tokens for this text; token by token only models with one vocabulary can be compared");
}

}  // namespace lrqat::eval
