#include "lrqat/nn/attention.h"

#include <ATen/ATen.h>

#include <cmath>
#include <tuple>

#include "lrqat/base/error.h"

namespace lrqat::nn {
namespace {

// [Q, K] bool, true where query i may see key j: j <= i + K - Q. SDPA's own is_causal counts from the first
// key, which is right only for Q = K.
at::Tensor visible_keys(std::int64_t queries, std::int64_t keys, std::int64_t window,
                        const at::Tensor& like) {
  const at::Tensor visible = at::ones({queries, keys}, like.options().dtype(at::kBool)).tril(keys - queries);
  return window == 0 ? visible : visible.triu(keys - queries - window + 1);
}

}  // namespace

at::Tensor causal_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            std::int64_t window) {
  const std::int64_t queries = q.size(2), keys = k.size(2);
  LRQAT_CHECK(keys >= queries, queries, " queries, ", keys, " keys");
  const double scale = 1.0 / std::sqrt(static_cast<double>(q.size(3)));
  const bool share_keys = q.size(1) != k.size(1);
  if (window >= keys) window = 0;
  if (window == 0 && queries == keys)
    return at::scaled_dot_product_attention(q, k, v, {}, 0.0, true, scale, share_keys);
  if (window == 0 && queries == 1)
    return at::scaled_dot_product_attention(q, k, v, {}, 0.0, false, scale, share_keys);
  return at::scaled_dot_product_attention(q, k, v, visible_keys(queries, keys, window, q), 0.0, false, scale,
                                          share_keys);
}

at::Tensor Attention::forward(const at::Tensor& hidden, const RotaryEmbedding& rotary, std::int64_t position,
                              KvCacheLayer* cache) const {
  const std::int64_t batch = hidden.size(0), tokens = hidden.size(1);
  const auto heads = [&](const Linear& projection, std::int64_t count) {
    return projection.forward(hidden).view({batch, tokens, count, head_dim});
  };
  const auto turned = [&](const at::Tensor& x, const std::optional<RmsNorm>& norm) {
    const at::Tensor normed = norm ? norm->forward(x) : x;
    return (turns ? rotary.apply(normed, position) : normed).transpose(1, 2);
  };
  const at::Tensor q = turned(heads(q_proj, num_heads), q_norm);
  at::Tensor k = turned(heads(k_proj, num_key_value_heads), k_norm);
  at::Tensor v = heads(v_proj, num_key_value_heads).transpose(1, 2);
  if (cache != nullptr) {
    LRQAT_CHECK(cache->length() == position, "the cache holds ", cache->length(), " tokens, not ", position);
    std::tie(k, v) = cache->append(k, v);
  }
  const at::Tensor mixed = causal_attention(q, k, v, sliding_window).transpose(1, 2);
  return o_proj.forward(mixed.reshape({batch, tokens, num_heads * head_dim}));
}

}  // namespace lrqat::nn
