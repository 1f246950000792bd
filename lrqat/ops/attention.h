// softmax(q kᵀ / sqrt(D)) v with grouped queries, differentiable: the blocked form (block_attention.h) where
// there is one, else ATen's scaled_dot_product_attention. B sequences, Q queries, K keys, D head_dim.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

#include "lrqat/ops/compute_type.h"

namespace lrqat::ops {

// The last query stands at the last key: query i of Q sees the keys up to i + K - Q. q [B, heads, Q, D], k
// and v [B, kv heads, K, D] with K >= Q -> [B, heads, Q, D]. window: a query sees so many keys, its own
// included; 0: all before it. softcap: scores s become softcap · tanh(s / softcap) before the softmax; 0:
// they stay. compute: of the products, where the device has a choice; softmax and result are float32.
at::Tensor causal_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            std::int64_t window = 0, double softcap = 0.0,
                            ComputeType compute = ComputeType::float32);

// The same over the keys that `visible` [Q, K] (bool) shows.
at::Tensor masked_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            const at::Tensor& visible, double softcap);

// ATen's, for all of these: over the keys that `mask` shows, or causally from the first key on, or all.
at::Tensor dot_product_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                 const std::optional<at::Tensor>& mask, bool causal);

// [Q, K] bool, true where causal_attention's query i sees key j; on the device of `like`.
at::Tensor visible_keys(std::int64_t queries, std::int64_t keys, std::int64_t window, const at::Tensor& like);

}  // namespace lrqat::ops
