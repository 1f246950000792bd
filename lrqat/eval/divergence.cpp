#include "lrqat/eval/divergence.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>
#include <vector>

#include "lrqat/base/error.h"

namespace lrqat::eval {
namespace {

// Of every scored token, in the order of the text.
struct TokenValues {
  std::vector<double> kl;
  std::vector<double> agrees;
  std::vector<double> nll_model;
  std::vector<double> nll_reference;
};

void append(std::vector<double>& values, const at::Tensor& more) {
  const at::Tensor plain = more.to(at::kCPU, at::kDouble).contiguous();
  const double* data = plain.const_data_ptr<double>();
  values.insert(values.end(), data, data + plain.numel());
}

// Adds a chunk's part; targets [rows, 1].
void add_chunk(TokenValues& values, const at::Tensor& reference_logits, const at::Tensor& model_logits,
               const at::Tensor& targets) {
  append(values.agrees, reference_logits.argmax(1) == model_logits.argmax(1));
  const at::Tensor log_p = reference_logits.log_softmax(1);
  at::Tensor log_q = model_logits.log_softmax(1);
  append(values.nll_reference, -log_p.gather(1, targets));
  append(values.nll_model, -log_q.gather(1, targets));
  const at::Tensor difference = log_q.neg_().add_(log_p);  // log p - log q
  append(values.kl, difference.mul_(log_p.exp()).sum(1));
}

// `values`: of each model.
void add_batch(std::vector<TokenValues>& values, const model::Decoder& reference,
               const std::vector<const model::Decoder*>& models, const at::Tensor& batch,
               const at::Tensor& scored) {
  const at::Tensor hidden_reference = scored_hidden(reference, batch, scored);
  std::vector<at::Tensor> hidden;
  for (const model::Decoder* model : models) hidden.push_back(scored_hidden(*model, batch, scored));
  const at::Tensor targets = scored_targets(batch, scored).to(reference.device()).unsqueeze(1);
  const std::int64_t rows = targets.size(0), step = reference.logit_rows();
  for (std::int64_t begin = 0; begin < rows; begin += step) {
    const std::int64_t count = std::min(step, rows - begin);
    const at::Tensor logits = reference.logits(hidden_reference.narrow(0, begin, count));
    for (std::size_t i = 0; i < models.size(); ++i) {
      const at::Device device = models[i]->device();
      add_chunk(values[i], logits.to(device), models[i]->logits(hidden[i].narrow(0, begin, count)),
                targets.narrow(0, begin, count).to(device));
    }
  }
}

// The value that a share of all is below; sorts them.
double quantile(std::vector<double>& values, double share) {
  const auto index = static_cast<std::size_t>(share * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(index), values.end());
  return values[index];
}

DivergenceResult summarize(TokenValues values, const Windows& windows, double seconds) {
  DivergenceResult result;
  const auto perplexity_of = [&](const std::vector<double>& nll) {
    const double mean = estimate(nll, windows.scored()).mean;
    return PerplexityResult{std::exp(mean),  mean,   windows.scored_tokens(), windows.context(),
                            windows.count(), seconds};
  };
  result.model = perplexity_of(values.nll_model);
  result.reference = perplexity_of(values.nll_reference);
  result.kl = estimate(values.kl, windows.scored());
  result.top1 = estimate(values.agrees, windows.scored());
  for (std::size_t i = 0; i < values.kl.size(); ++i) values.nll_model[i] -= values.nll_reference[i];
  result.log_ratio = estimate(values.nll_model, windows.scored());
  result.mean_kl = result.kl.mean;
  result.top1_agreement = result.top1.mean;
  result.median_kl = quantile(values.kl, 0.5);
  result.kl_99 = quantile(values.kl, 0.99);
  result.max_kl = quantile(values.kl, 1.0);
  return result;
}

}  // namespace

std::vector<DivergenceResult> divergences(const model::Decoder& reference,
                                          const std::vector<const model::Decoder*>& models,
                                          const ScoredText& text, const WindowOptions& options,
                                          ProgressReporter& progress) {
  for (const model::Decoder* model : models) {
    if (reference.config().vocab_size == model->config().vocab_size) continue;
    fail("cannot compare models of different vocabularies: ", model->config().vocab_size,
         " tokens, the reference has ", reference.config().vocab_size);
  }
  const at::NoGradGuard no_grad;
  const auto start = std::chrono::steady_clock::now();
  const Windows windows(text, options);
  progress.start("divergence", windows.count());
  std::vector<TokenValues> values(models.size());
  double kl = 0;
  for (std::int64_t begin = 0; begin < windows.count(); begin += windows.batch_size()) {
    const std::int64_t end = std::min(begin + windows.batch_size(), windows.count());
    const auto before = static_cast<std::ptrdiff_t>(values.back().kl.size());
    add_batch(values, reference, models, windows.batch(begin, end), windows.scored_rows(begin, end));
    kl = std::accumulate(values.back().kl.begin() + before, values.back().kl.end(), kl);
    progress.update(end, concat("KL ", kl / static_cast<double>(values.back().kl.size())));
  }
  progress.finish();
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  std::vector<DivergenceResult> results;
  for (TokenValues& of_model : values)
    results.push_back(summarize(std::move(of_model), windows, elapsed.count()));
  return results;
}

DivergenceResult divergence(const model::Decoder& reference, const model::Decoder& model,
                            const ScoredText& text, const WindowOptions& options,
                            ProgressReporter& progress) {
  return divergences(reference, {&model}, text, options, progress).front();
}

}  // namespace lrqat::eval
