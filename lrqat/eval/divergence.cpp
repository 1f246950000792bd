#include "lrqat/eval/divergence.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "lrqat/base/error.h"

namespace lrqat::eval {
namespace {

struct Sums {
  double kl = 0;
  double agreeing = 0;
  double nll_model = 0;
  double nll_reference = 0;
};

double sum_of(const at::Tensor& values) { return values.sum(at::kDouble).item<double>(); }

// Adds a chunk's part; targets [rows, 1].
void add_chunk(Sums& sums, const at::Tensor& reference_logits, const at::Tensor& model_logits,
               const at::Tensor& targets) {
  sums.agreeing += sum_of(reference_logits.argmax(1) == model_logits.argmax(1));
  const at::Tensor log_p = reference_logits.log_softmax(1);
  at::Tensor log_q = model_logits.log_softmax(1);
  sums.nll_reference -= sum_of(log_p.gather(1, targets));
  sums.nll_model -= sum_of(log_q.gather(1, targets));
  const at::Tensor difference = log_q.neg_().add_(log_p);  // log p - log q
  sums.kl += sum_of(difference.mul_(log_p.exp()).sum(1));
}

void add_batch(Sums& sums, const model::Decoder& reference, const model::Decoder& model,
               const at::Tensor& batch) {
  const at::Tensor hidden_reference = scored_hidden(reference, batch);
  const at::Tensor hidden_model = scored_hidden(model, batch);
  const at::Tensor targets = scored_targets(batch).to(model.device()).unsqueeze(1);
  const std::int64_t rows = targets.size(0), step = logit_rows(model.config().vocab_size);
  for (std::int64_t begin = 0; begin < rows; begin += step) {
    const std::int64_t count = std::min(step, rows - begin);
    add_chunk(sums, reference.logits(hidden_reference.narrow(0, begin, count)).to(model.device()),
              model.logits(hidden_model.narrow(0, begin, count)), targets.narrow(0, begin, count));
  }
}

}  // namespace

DivergenceResult divergence(const model::Decoder& reference, const model::Decoder& model,
                            std::span<const std::int32_t> tokens, const WindowOptions& options,
                            ProgressReporter& progress) {
  if (reference.config().vocab_size != model.config().vocab_size) {
    fail("cannot compare models of different vocabularies: ", model.config().vocab_size,
         " tokens, the reference has ", reference.config().vocab_size);
  }
  const at::NoGradGuard no_grad;
  const auto start = std::chrono::steady_clock::now();
  const Windows windows(tokens, options);
  progress.start("divergence", windows.count());
  Sums sums;
  for (std::int64_t begin = 0; begin < windows.count(); begin += windows.batch_size()) {
    const std::int64_t end = std::min(begin + windows.batch_size(), windows.count());
    add_batch(sums, reference, model, windows.batch(begin, end));
    progress.update(end, concat("KL ", sums.kl / static_cast<double>(end * (windows.context() - 1))));
  }
  progress.finish();
  const auto count = static_cast<double>(windows.scored_tokens());
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  const auto result = [&](double nll) {
    return PerplexityResult{std::exp(nll),  nll, windows.scored_tokens(), windows.context(), windows.count(),
                            elapsed.count()};
  };
  return {sums.kl / count, sums.agreeing / count, result(sums.nll_model / count),
          result(sums.nll_reference / count)};
}

}  // namespace lrqat::eval
