#include "lrqat/eval/perplexity.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "lrqat/base/error.h"
#include "lrqat/eval/log_likelihood.h"

namespace lrqat::eval {

PerplexityResult perplexity(const model::Decoder& decoder, std::span<const std::int32_t> tokens,
                            const WindowOptions& options, ProgressReporter& progress) {
  const at::NoGradGuard no_grad;
  const auto start = std::chrono::steady_clock::now();
  const Windows windows(tokens, options);
  progress.start("perplexity", windows.count());
  double sum = 0;
  for (std::int64_t begin = 0; begin < windows.count(); begin += windows.batch_size()) {
    const std::int64_t end = std::min(begin + windows.batch_size(), windows.count());
    const at::Tensor batch = windows.batch(begin, end);
    const RowScores scores = score_rows(decoder, scored_hidden(decoder, batch), scored_targets(batch));
    sum -= scores.log_probability.sum().item<double>();
    const double mean = sum / static_cast<double>(end * (windows.context() - 1));
    progress.update(end, concat("perplexity ", std::exp(mean)));
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
