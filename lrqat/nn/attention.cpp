#include "lrqat/nn/attention.h"

#include <ATen/ATen.h>

#include <tuple>
#include <vector>

#include "lrqat/base/error.h"
#include "lrqat/nn/hadamard.h"
#include "lrqat/ops/attention.h"

namespace lrqat::nn {
namespace {

// Attention of one segment of a packed row; k and v begin with the prefix.
at::Tensor segment_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                             const at::Tensor& mask, double softcap, ops::ComputeType compute) {
  return mask.defined() ? ops::masked_attention(q, k, v, mask, softcap)
                        : ops::causal_attention(q, k, v, 0, softcap, compute);
}

// The segment's mask without the keys that are `window` positions or more before a query; keys = P + L.
at::Tensor within_window(const PackedRow& row, const PackedSegment& segment, std::int64_t keys,
                         std::int64_t window) {
  const at::Tensor queries_at = row.positions.narrow(0, segment.begin, segment.length);
  const at::Tensor prefix_at = at::arange(keys - segment.length, queries_at.options());
  const at::Tensor distance = queries_at.unsqueeze(1) - at::cat({prefix_at, queries_at}).unsqueeze(0);
  const at::Tensor visible =
      segment.mask.defined() ? segment.mask : ops::visible_keys(segment.length, keys, 0, queries_at);
  return visible.logical_and(distance < window);
}

}  // namespace

Attention::Heads Attention::project(const at::Tensor& hidden,
                                    const std::function<at::Tensor(const at::Tensor&)>& rotate) const {
  const std::int64_t batch = hidden.size(0), tokens = hidden.size(1);
  const at::Tensor x = points.input(hidden);
  const auto heads = [&](const at::Tensor& projected) {
    return projected.view({batch, tokens, projected.size(2) / head_dim, head_dim});
  };
  const auto rotated = [&](const at::Tensor& projected, const std::optional<RmsNorm>& norm) {
    const at::Tensor normed = norm ? norm->forward(heads(projected)) : heads(projected);
    const at::Tensor turned = rotates ? rotate(normed) : normed;
    return hadamard ? nn::hadamard(turned) : turned;
  };
  const auto keys = [&](const at::Tensor& projected) {
    if (!hadamard) return rotated(points.cached_keys(projected), k_norm);
    return heads(points.cached_keys(rotated(projected, k_norm).flatten(2)));
  };
  const std::vector<at::Tensor> projected = Linear::forward_all({&q_proj, &k_proj, &v_proj}, x);
  at::Tensor q = points.queries(rotated(projected[0], q_norm));
  if (query_scale != 1.0) q = q * query_scale;
  const at::Tensor k = points.rotated_keys(keys(projected[1]));
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
  const at::Tensor attended = ops::causal_attention(q, k, v, sliding_window, softcap, q_proj.compute());
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
    const at::Tensor attended = segment_attention(part(q), keys, values, mask, softcap, q_proj.compute());
    mixed.narrow(1, segment.begin, segment.length).copy_(attended.transpose(1, 2));
  }
  return o_proj.forward(points.output(mixed.view({1, tokens, num_heads * head_dim})));
}

}  // namespace lrqat::nn
