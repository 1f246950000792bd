#include "lrqat/nn/attention.h"

#include <ATen/ATen.h>

#include <cmath>
#include <tuple>
#include <vector>

#include "lrqat/base/error.h"
#include "lrqat/nn/block_attention.h"
#include "lrqat/nn/soft_cap.h"

namespace lrqat::nn {
namespace {

// [Q, K] bool, true where query i may see key j: j <= i + K - Q. SDPA's own is_causal counts from the first
// key, which is right only for Q = K.
at::Tensor visible_keys(std::int64_t queries, std::int64_t keys, std::int64_t window,
                        const at::Tensor& like) {
  const at::Tensor visible = at::ones({queries, keys}, like.options().dtype(at::kBool)).tril(keys - queries);
  return window == 0 ? visible : visible.triu(keys - queries - window + 1);
}

// Attention of one segment of a packed row; k and v begin with the prefix.
at::Tensor segment_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                             const at::Tensor& mask, double softcap) {
  if (!mask.defined()) return causal_attention(q, k, v, 0, softcap);
  if (softcap > 0) return soft_capped_attention(q, k, v, mask, softcap);
  const double scale = 1.0 / std::sqrt(static_cast<double>(q.size(3)));
  return at::scaled_dot_product_attention(q, k, v, mask, 0.0, false, scale, q.size(1) != k.size(1));
}

// The segment's mask without the keys that lie `window` positions or more before a query; keys = P + L.
at::Tensor within_window(const PackedRow& row, const PackedSegment& segment, std::int64_t keys,
                         std::int64_t window) {
  const at::Tensor queries_at = row.positions.narrow(0, segment.begin, segment.length);
  const at::Tensor prefix_at = at::arange(keys - segment.length, queries_at.options());
  const at::Tensor distance = queries_at.unsqueeze(1) - at::cat({prefix_at, queries_at}).unsqueeze(0);
  const at::Tensor visible =
      segment.mask.defined() ? segment.mask : visible_keys(segment.length, keys, 0, queries_at);
  return visible.logical_and(distance < window);
}

}  // namespace

at::Tensor causal_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            std::int64_t window, double softcap) {
  const std::int64_t queries = q.size(2), keys = k.size(2);
  LRQAT_CHECK(keys >= queries, queries, " queries, ", keys, " keys");
  if (has_block_attention(q)) return block_attention(q, k, v, window, softcap);
  if (softcap > 0) return soft_capped_attention(q, k, v, visible_keys(queries, keys, window, q), softcap);
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

Attention::Heads Attention::project(const at::Tensor& hidden,
                                    const std::function<at::Tensor(const at::Tensor&)>& rotate) const {
  const std::int64_t batch = hidden.size(0), tokens = hidden.size(1);
  const at::Tensor x = points.input(hidden);
  const auto heads = [&](const at::Tensor& projected) {
    return projected.view({batch, tokens, projected.size(2) / head_dim, head_dim});
  };
  const auto turned = [&](const at::Tensor& projected, const std::optional<RmsNorm>& norm) {
    const at::Tensor normed = norm ? norm->forward(heads(projected)) : heads(projected);
    return turns ? rotate(normed) : normed;
  };
  const std::vector<at::Tensor> projected = Linear::forward_all({&q_proj, &k_proj, &v_proj}, x);
  at::Tensor q = points.queries(turned(projected[0], q_norm));
  if (query_scale != 1.0) q = q * query_scale;
  const at::Tensor k = points.rotated_keys(turned(points.cached_keys(projected[1]), k_norm));
  const at::Tensor v = heads(points.cached_values(projected[2]));
  return {q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)};
}

at::Tensor Attention::forward(const at::Tensor& hidden, const RotaryEmbedding& rotary, std::int64_t position,
                              KvCacheLayer* cache) const {
  const std::int64_t batch = hidden.size(0), tokens = hidden.size(1);
  auto [q, k, v] = project(hidden, [&](const at::Tensor& x) { return rotary.apply(x, position); });
  if (cache != nullptr) {
    LRQAT_CHECK(cache->length() == position, "the cache holds ", cache->length(), " tokens, not ", position);
    std::tie(k, v) = cache->append(k, v);
  }
  const at::Tensor attended = causal_attention(q, k, v, sliding_window, softcap);
  const at::Tensor mixed = attended.transpose(1, 2);
  return o_proj.forward(points.output(mixed.reshape({batch, tokens, num_heads * head_dim})));
}

at::Tensor Attention::forward_packed(const at::Tensor& hidden, const RotaryEmbedding& rotary,
                                     const PackedRow& row, const KvCacheLayer* prefix) const {
  const std::int64_t tokens = hidden.size(1);
  LRQAT_CHECK(hidden.size(0) == 1, "a packed row is a batch of one");
  const Heads heads = project(
      hidden, [&](const at::Tensor& x) { return rotary.apply_at(x, row.positions, row.end_position); });
  const at::Tensor &q = heads.q, &k = heads.k, &v = heads.v;
  const auto [prefix_k, prefix_v] =
      prefix != nullptr ? prefix->contents() : std::pair<at::Tensor, at::Tensor>();
  at::Tensor mixed = at::empty({1, tokens, num_heads, head_dim}, hidden.options());
  for (const PackedSegment& segment : row.segments) {
    const auto part = [&](const at::Tensor& x) { return x.narrow(2, segment.begin, segment.length); };
    const at::Tensor keys = prefix_k.defined() ? at::cat({prefix_k, part(k)}, 2) : part(k);
    const at::Tensor values = prefix_v.defined() ? at::cat({prefix_v, part(v)}, 2) : part(v);
    const at::Tensor mask = sliding_window > 0 && row.end_position > sliding_window
                                ? within_window(row, segment, keys.size(2), sliding_window)
                                : segment.mask;
    const at::Tensor attended = segment_attention(part(q), keys, values, mask, softcap);
    mixed.narrow(1, segment.begin, segment.length).copy_(attended.transpose(1, 2));
  }
  return o_proj.forward(points.output(mixed.view({1, tokens, num_heads * head_dim})));
}

}  // namespace lrqat::nn
