// Causal self-attention with grouped queries: num_heads queries share num_key_value_heads keys and values.
// B sequences, T tokens, H hidden size, D head_dim.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <optional>

#include "lrqat/nn/activation_point.h"
#include "lrqat/nn/kv_cache.h"
#include "lrqat/nn/linear.h"
#include "lrqat/nn/packed_row.h"
#include "lrqat/nn/rms_norm.h"
#include "lrqat/nn/rotary_embedding.h"

namespace lrqat::nn {

// Where attention quantizes activations, in the order of the forward pass. Last dimensions are tokens'
// vectors.
struct AttentionPoints {
  ActivationPoint input;  // of q_proj, k_proj and v_proj [B, T, H]
  // Of k_proj, all heads together, before k_norm and the rotary embedding; behind both and the Hadamard
  // transform, where there is one.
  ActivationPoint cached_keys;
  ActivationPoint cached_values;  // of v_proj, all heads together
  ActivationPoint queries;        // each head, rotated
  ActivationPoint rotated_keys;   // each head
  ActivationPoint output;         // of all heads together, into o_proj
};

struct Attention {
  std::int64_t num_heads;
  std::int64_t num_key_value_heads;
  std::int64_t head_dim;
  Linear q_proj;
  Linear k_proj;
  Linear v_proj;
  Linear o_proj;
  std::int64_t sliding_window = 0;        // 0: none
  bool rotates = true;                    // q and k by the rotary embedding
  bool hadamard = false;                  // then the Hadamard transform of each of their heads
  std::optional<RmsNorm> q_norm, k_norm;  // of each head, before the rotary embedding
  double query_scale = 1.0;               // scores are multiplied by it besides 1 / sqrt(D)
  double softcap = 0;                     // scores s become softcap · tanh(s / softcap); 0: they stay
  AttentionPoints points{};

  // hidden [B, T, H], its first token at `position`; with a cache, the tokens in it come before.
  at::Tensor forward(const at::Tensor& hidden, const RotaryEmbedding& rotary, std::int64_t position,
                     KvCacheLayer* cache) const;

  // hidden [1, T, H] of segments that see the keys of `prefix` (null: none) and their own. Without gradients.
  at::Tensor forward_packed(const at::Tensor& hidden, const RotaryEmbedding& rotary, const PackedRow& row,
                            const KvCacheLayer* prefix) const;

 private:
  struct Heads {
    at::Tensor q, k, v;  // [B, heads, T, D], k as attention and cache take it
  };
  // What every way through attention begins with: projections, norms, rotation and what is quantized of them.
  Heads project(const at::Tensor& hidden,
                const std::function<at::Tensor(const at::Tensor& heads)>& rotate) const;
};

}  // namespace lrqat::nn
