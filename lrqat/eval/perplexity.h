// Token perplexity: the text is cut into non-overlapping windows, every token of a window but its first (and
// those of prompts) is scored given the ones before it in the window, and the result is exp of the mean over
// all scored tokens.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "lrqat/base/progress.h"
#include "lrqat/eval/windows.h"

namespace lrqat::eval {

struct PerplexityResult {
  double perplexity = 0;
  double nll = 0;           // mean negative log-likelihood, nats a token
  std::int64_t tokens = 0;  // scored
  std::int64_t context = 0;
  std::int64_t windows = 0;
  double seconds = 0;
};

PerplexityResult perplexity(const model::Decoder& decoder, const ScoredText& text,
                            const WindowOptions& options, ProgressReporter& progress);

// Error naming the model where the figure is no number: nothing can be said of such a model, least of all
// that it is better than another.
void check_finite(const PerplexityResult& result, const std::string& model);

}  // namespace lrqat::eval
