#include "lrqat/eval/generation.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "lrqat/base/error.h"

namespace lrqat::eval {
namespace {

void check_options(const GenerationOptions& options) {
  if (!(options.temperature >= 0)) fail("`temperature` ", options.temperature, ": expected 0 or more");
  if (!(options.top_p > 0 && options.top_p <= 1)) {
    fail("`top-p` ", options.top_p, ": expected a share of probability, more than 0 and at most 1");
  }
}

// The prompt goes through in pieces, so that its length does not decide the memory.
at::Tensor prompt_hidden(const model::Decoder& decoder, const at::Tensor& prompt, nn::KvCache& cache) {
  constexpr std::int64_t kPiece = 512;
  at::Tensor hidden;
  for (std::int64_t begin = 0; begin < prompt.size(1); begin += kPiece) {
    hidden = decoder.forward(prompt.narrow(1, begin, std::min(kPiece, prompt.size(1) - begin)), &cache);
  }
  return hidden.select(1, hidden.size(1) - 1);
}

}  // namespace

std::int64_t sample_token(const at::Tensor& logits, const GenerationOptions& options, Random& random) {
  if (options.temperature == 0.0) return logits.argmax().item<std::int64_t>();
  const at::Tensor probabilities = (logits.to(at::kCPU, at::kDouble) / options.temperature).softmax(0);
  const auto [sorted, ids] = probabilities.sort(true, 0, true);  // stable, falling
  const double* p = sorted.const_data_ptr<double>();
  std::int64_t kept = 0;
  double mass = 0;
  while (kept < sorted.size(0) && (kept == 0 || mass < options.top_p)) mass += p[kept++];
  double left = random.uniform() * mass;
  std::int64_t chosen = 0;
  while (chosen + 1 < kept && left >= p[chosen]) left -= p[chosen++];
  return ids[chosen].item<std::int64_t>();
}

std::vector<std::int32_t> generate(const model::Decoder& decoder, std::span<const std::int32_t> prompt,
                                   const GenerationOptions& options,
                                   const std::function<bool(std::int32_t)>& on_token) {
  check_options(options);
  if (prompt.empty()) fail("the prompt has no tokens: give `prompt` some text");
  const at::NoGradGuard no_grad;
  nn::KvCache cache = decoder.make_cache();
  Random random(options.seed);
  const auto as_batch = [](std::span<const std::int32_t> ids) {
    return at::tensor(at::ArrayRef<std::int32_t>(ids.data(), ids.size()), at::kLong).unsqueeze(0);
  };
  std::vector<std::int32_t> out;
  at::Tensor hidden;
  while (static_cast<std::int64_t>(out.size()) < options.max_tokens) {
    hidden = out.empty() ? prompt_hidden(decoder, as_batch(prompt), cache)
                         : decoder.forward(as_batch(std::span(out).last(1)), &cache).select(1, 0);
    const at::Tensor logits = decoder.logits(hidden)[0];
    if (!logits.isfinite().all().item<bool>()) {
      fail(
          "the model computes values that are not finite numbers, as after training that diverged or from a "
          "damaged file, so there is no next token");
    }
    const std::int64_t token = sample_token(logits, options, random);
    out.push_back(static_cast<std::int32_t>(token));
    const bool wanted = !on_token || on_token(out.back());
    if (!wanted || std::count(options.stop_tokens.begin(), options.stop_tokens.end(), token) > 0) break;
  }
  return out;
}

}  // namespace lrqat::eval
