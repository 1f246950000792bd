// Causal self-attention with grouped queries: num_heads queries share num_key_value_heads keys and values.
// B sequences, T tokens, H hidden size, D head_dim.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "lrqat/nn/kv_cache.h"
#include "lrqat/nn/linear.h"
#include "lrqat/nn/packed_row.h"
#include "lrqat/nn/rotary_embedding.h"

namespace lrqat::nn {

// softmax(q kᵀ / sqrt(D)) v where the last query stands at the last key: query i of Q sees the keys up to
// i + K - Q. q [B, heads, Q, D], k and v [B, kv heads, K, D] with K >= Q -> [B, heads, Q, D].
at::Tensor causal_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v);

struct Attention {
  std::int64_t num_heads;
  std::int64_t num_key_value_heads;
  std::int64_t head_dim;
  Linear q_proj;
  Linear k_proj;
  Linear v_proj;
  Linear o_proj;

  // hidden [B, T, H], its first token at `position`; with a cache, the tokens in it come before.
  at::Tensor forward(const at::Tensor& hidden, const RotaryEmbedding& rotary, std::int64_t position,
                     KvCacheLayer* cache) const;

  // hidden [1, T, H] of segments that see the keys of `prefix` (null: none) and their own. Without gradients.
  at::Tensor forward_packed(const at::Tensor& hidden, const RotaryEmbedding& rotary, const PackedRow& row,
                            const KvCacheLayer* prefix) const;
};

}  // namespace lrqat::nn
