#include "lrqat/eval/perplexity.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "lrqat/base/error.h"

namespace lrqat::eval {

PerplexityResult perplexity(const model::Decoder& decoder, const ScoredText& text,
                            const WindowOptions& options, ProgressReporter& progress) {
  const at::NoGradGuard no_grad;
  const auto start = std::chrono::steady_clock::now();
  const Windows windows(text, options);
  progress.start("perplexity", windows.count());
  double sum = 0;
  std::int64_t scored = 0;
  for (std::int64_t begin = 0; begin < windows.count(); begin += windows.batch_size()) {
    const std::int64_t end = std::min(begin + windows.batch_size(), windows.count());
    const at::Tensor batch = windows.batch(begin, end);
    const at::Tensor rows = windows.scored_rows(begin, end);
    const auto scores = decoder.score_rows(scored_hidden(decoder, batch, rows), scored_targets(batch, rows));
    sum -= scores.log_probability.sum().item<double>();
    scored += scores.log_probability.numel();
    progress.update(end, concat("perplexity ", std::exp(sum / static_cast<double>(scored))));
  }
  progress.finish();
  const double nll = sum / static_cast<double>(windows.scored_tokens());
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  return {std::exp(nll), nll, windows.scored_tokens(), windows.context(), windows.count(), elapsed.count()};
}

void check_finite(const PerplexityResult& result, const std::string& model) {
  if (std::isfinite(result.perplexity)) return;
  fail(model, ": its perplexity on this text is ", result.perplexity, " (", result.nll,
       " nats a token), not a finite number: the model computes values that are none, as after training that "
       "diverged or from a damaged file");
}

}  // namespace lrqat::eval
