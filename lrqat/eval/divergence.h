// How far a model's next-token distributions are from a reference's (usually the float model it was made
// from), on the windows that perplexity uses. Unlike perplexity it cannot be lowered by adapting to the text.
#pragma once

#include <cstdint>
#include <vector>

#include "lrqat/base/progress.h"
#include "lrqat/eval/estimate.h"
#include "lrqat/eval/perplexity.h"

namespace lrqat::eval {

struct DivergenceResult {
  double mean_kl = 0;         // mean over scored tokens of KL(reference || model), nats
  double top1_agreement = 0;  // share of scored tokens where both put the same token first
  PerplexityResult model;     // `seconds` is that of the whole comparison
  PerplexityResult reference;
  // With their errors: of the divergence, of the agreement, and of log(perplexity / reference perplexity),
  // whose terms are differences token by token, so that what makes a text hard for both models drops out.
  Estimate kl;
  Estimate top1;
  Estimate log_ratio;
  double median_kl = 0;
  double kl_99 = 0;  // 99 % of the tokens have less
  double max_kl = 0;
};

// Of several models from one reference, which runs only once.
std::vector<DivergenceResult> divergences(const model::Decoder& reference,
                                          const std::vector<const model::Decoder*>& models,
                                          const ScoredText& text, const WindowOptions& options,
                                          ProgressReporter& progress);

// Both models must have the same vocabulary.
DivergenceResult divergence(const model::Decoder& reference, const model::Decoder& model,
                            const ScoredText& text, const WindowOptions& options, ProgressReporter& progress);

}  // namespace lrqat::eval
