#include "lrqat/eval/generation.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "lrqat/base/error.h"
#include "lrqat/model/tokenizer_files.h"

namespace lrqat::eval {
namespace {

using Ids = std::vector<std::int64_t>;

// Those of `candidates` in falling order of probability; ties in rising order of ids.
void rank(const double* p, Ids& candidates) {
  std::sort(candidates.begin(), candidates.end(),
            [p](std::int64_t a, std::int64_t b) { return p[a] != p[b] ? p[a] > p[b] : a < b; });
}

// The most likely tokens, ranked, at least those that together have `mass`. Sorting the whole vocabulary
// would take longer than a small model's forward pass, and a draw seldom looks beyond the first few.
Ids ranked(const double* p, std::int64_t vocabulary, double mass) {
  for (double least = 1e-4;; least = 0) {
    Ids candidates;
    double found = 0;
    for (std::int64_t id = 0; id < vocabulary; ++id) {
      if (p[id] < least) continue;
      candidates.push_back(id);
      found += p[id];
    }
    if (found < mass && least > 0) continue;
    rank(p, candidates);
    return candidates;
  }
}

at::Tensor as_row(std::span<const std::int32_t> ids) {
  return at::tensor(at::ArrayRef<std::int32_t>(ids.data(), ids.size()), at::kLong);
}

}  // namespace

void check_sampling(double temperature, double top_p) {
  if (!(temperature >= 0)) fail("`temperature` ", temperature, ": expected 0 or more");
  if (!(top_p > 0 && top_p <= 1)) {
    fail("`top-p` ", top_p, ": expected a share of probability, more than 0 and at most 1");
  }
}

std::vector<std::int64_t> stop_tokens(const model::OpenedModel& model) {
  std::vector<std::int64_t> tokens = model.decoder->config().eos_token_id;
  if (const auto end_of_text = model.tokenizer().eos_token_id()) tokens.push_back(*end_of_text);
  for (const std::int64_t token : model::generation_stop_tokens(model.tokenizer_path)) {
    tokens.push_back(token);
  }
  return tokens;
}

std::int64_t sample_token(const at::Tensor& logits, const GenerationOptions& options, Random& random) {
  if (options.temperature == 0.0) return logits.argmax().item<std::int64_t>();
  const at::Tensor probabilities = (logits.to(at::kCPU, at::kDouble) / options.temperature).softmax(0);
  const double* p = probabilities.const_data_ptr<double>();
  double left = random.uniform();
  // Of all tokens: those up to the draw. Of the most likely ones: all of them, to know their mass.
  Ids ids = ranked(p, logits.size(0), options.top_p < 1 ? options.top_p : left);
  if (options.top_p < 1) {
    std::size_t kept = 0;
    double mass = 0;
    while (kept < ids.size() && (kept == 0 || mass < options.top_p)) mass += p[ids[kept++]];
    ids.resize(kept);
    left *= mass;
  }
  std::size_t chosen = 0;
  while (chosen + 1 < ids.size() && left >= p[ids[chosen]]) left -= p[ids[chosen++]];
  return ids[chosen];
}

DecodingBatch::DecodingBatch(const model::Decoder& decoder, const at::Tensor& prompts)
    : decoder_(decoder), cache_(decoder.make_cache()) {
  LRQAT_CHECK(prompts.dim() == 2 && prompts.numel() > 0);
  forward(prompts);
}

void DecodingBatch::append(std::span<const std::int32_t> tokens) {
  LRQAT_CHECK(static_cast<std::int64_t>(tokens.size()) == logits_.size(0));
  forward(as_row(tokens).unsqueeze(1));
}

void DecodingBatch::keep(std::span<const std::int64_t> rows) {
  const at::Tensor kept = at::tensor(at::ArrayRef<std::int64_t>(rows.data(), rows.size()), at::kLong);
  const at::Tensor on_device = kept.to(decoder_.device());
  nn::KvCache cache = decoder_.make_cache();
  for (std::int64_t i = 0; i < decoder_.num_layers(); ++i) {
    const auto [keys, values] = cache_.layer(i).contents();
    cache.layer(i).append(keys.index_select(0, on_device), values.index_select(0, on_device));
  }
  cache_ = std::move(cache);
  logits_ = logits_.index_select(0, kept);
}

// Long prompts go through in pieces, so that their length does not decide the memory.
void DecodingBatch::forward(const at::Tensor& tokens) {
  constexpr std::int64_t kPiece = 512;
  const at::NoGradGuard no_grad;
  const at::Tensor on_device = tokens.to(decoder_.device());
  at::Tensor hidden;
  for (std::int64_t begin = 0; begin < tokens.size(1); begin += kPiece) {
    hidden = decoder_.forward(on_device.narrow(1, begin, std::min(kPiece, tokens.size(1) - begin)), &cache_);
  }
  logits_ = decoder_.logits(hidden.select(1, hidden.size(1) - 1)).to(at::kCPU);
  if (!logits_.isfinite().all().item<bool>()) {
    fail(
        "the model computes values that are not finite numbers, as after training that diverged or from a "
        "damaged file, so there is no next token");
  }
}

std::vector<std::int32_t> generate(const model::Decoder& decoder, std::span<const std::int32_t> prompt,
                                   const GenerationOptions& options,
                                   const std::function<bool(std::int32_t)>& on_token) {
  check_sampling(options.temperature, options.top_p);
  if (prompt.empty()) fail("the prompt has no tokens: give `prompt` some text");
  std::vector<std::int32_t> out;
  if (options.max_tokens <= 0) return out;
  Random random(options.seed);
  DecodingBatch sequence(decoder, as_row(prompt).unsqueeze(0));
  while (true) {
    const std::int64_t token = sample_token(sequence.logits()[0], options, random);
    out.push_back(static_cast<std::int32_t>(token));
    const bool wanted = !on_token || on_token(out.back());
    if (!wanted || std::count(options.stop_tokens.begin(), options.stop_tokens.end(), token) > 0) break;
    if (static_cast<std::int64_t>(out.size()) >= options.max_tokens) break;
    sequence.append(std::span(out).last(1));
  }
  return out;
}

}  // namespace lrqat::eval
