#include "lrqat/eval/perplexity.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "lrqat/base/error.h"

namespace lrqat::eval {
namespace {

// Sum of -log p(target) over the rows of hidden, which are made into logits a chunk at a time.
double sum_nll(const model::Decoder& decoder, const at::Tensor& hidden, const at::Tensor& targets) {
  const std::int64_t rows = hidden.size(0), step = logit_rows(decoder.config().vocab_size);
  double sum = 0;
  for (std::int64_t begin = 0; begin < rows; begin += step) {
    const std::int64_t count = std::min(step, rows - begin);
    const at::Tensor logits = decoder.logits(hidden.narrow(0, begin, count));
    const at::Tensor target = targets.narrow(0, begin, count).to(logits.device()).unsqueeze(1);
    const at::Tensor nll = at::logsumexp(logits, {1}) - logits.gather(1, target).squeeze(1);
    sum += nll.sum(at::kDouble).item<double>();
  }
  return sum;
}

}  // namespace

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
    sum += sum_nll(decoder, scored_hidden(decoder, batch), scored_targets(batch));
    const double mean = sum / static_cast<double>(end * (windows.context() - 1));
    progress.update(end, concat("perplexity ", std::exp(mean)));
  }
  progress.finish();
  const double nll = sum / static_cast<double>(windows.scored_tokens());
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  return {std::exp(nll), nll, windows.scored_tokens(), windows.context(), windows.count(), elapsed.count()};
}

}  // namespace lrqat::eval
