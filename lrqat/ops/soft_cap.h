// Soft-capping, as Gemma 2 has it: x becomes cap · tanh(x / cap), of attention scores and of logits.
#pragma once

#include <ATen/core/Tensor.h>

namespace lrqat::ops {

// Differentiable; cap 0: x as it is.
at::Tensor soft_cap(const at::Tensor& x, double cap);

// softmax(soft_cap(q kᵀ / sqrt(D))) v over the keys that `visible` [Q, K] (bool) shows, in plain operations
// (block_attention.h has the fused form): all scores of a head exist at once. q [B, heads, Q, D], k and v [B,
// kv heads, K, D] -> [B, heads, Q, D].
at::Tensor soft_capped_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                 const at::Tensor& visible, double cap);

}  // namespace lrqat::ops
