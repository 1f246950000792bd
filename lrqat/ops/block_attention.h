// Causal attention as block products on the CPU, in float32, or with the factors of every product rounded to
// bfloat16 and its sums in float32: a block of queries with all its keys at a time, so that scores stay in
// the second cache. Its gradient recomputes the probabilities from the saved log Σ exp of every row (Dao et
// al., FlashAttention, arXiv 2205.14135, algorithm 4, with whole rows).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "lrqat/ops/compute_type.h"

namespace lrqat::ops {

// True where block_attention works and pays for a q on the CPU: float32, more than a handful of queries, and
// block products at hand.
bool has_block_attention(const at::Tensor& q);

// softmax(q kᵀ / sqrt(D)) v as causal_attention (attention.h) defines it, with gradients: q [B, heads, Q, D],
// k and v [B, kv heads, K, D] with K >= Q, all with adjacent D -> [B, heads, Q, D], in memory as
// [B, Q, heads, D]. window: keys that a query sees, its own included; 0: all before it. softcap: scores s
// become softcap · tanh(s / softcap) before the softmax; 0: they stay. compute bfloat16 is float32 where D is
// odd or the machine has no fast products in it.
at::Tensor block_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, std::int64_t window,
                           double softcap = 0.0, ComputeType compute = ComputeType::float32);

}  // namespace lrqat::ops
