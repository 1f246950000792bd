// The gradients of a low-rank term γ·A·B in a linear layer y = x Ŵᵀ, and of the scales around it
// (docs/method.md section 5), in the forms that need no dL/dŴ as a whole. T tokens, N out_features, K
// in_features, R rank, G scales a row. Results are not multiplied by γ.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

#include "lrqat/ops/stored_weight.h"
#include "lrqat/ops/weight_gradient.h"

namespace lrqat::ops {

struct LowRankGradient {
  at::Tensor lora_a;   // [N, R]
  at::Tensor lora_b;   // [R, K], any strides
  at::Tensor scale{};  // dL/ds of each row's scales, [N, G]; undefined where it is not wanted
};

// Without dL/dŴ:
//     ds_n = Σ_t dy·y / s_n     dA = s ⊙ (dyᵀ (x Bᵀ))     dB = ((dy ⊙ s) A)ᵀ x,
// exact where nothing is clipped; the clipped entries' part of dA and dB is subtracted. With a scale a group
// g of columns, whose gradient this form does not have,
//     dA = Σ_g s_g ⊙ (dyᵀ (x_g B_gᵀ))     dB_g = ((dy ⊙ s_g) A)ᵀ x_g.
// Nothing where more than most_clipped entries are clipped, or where the weight's device has no such form.
std::optional<LowRankGradient> low_rank_gradient(const StoredWeight& weight, const LinearGradient& linear,
                                                 std::int64_t most_clipped, bool with_scale);

// From dL/dŴ in blocks that are made and used up in one pass, for any granularity; nothing where there are no
// block products, and with zero points.
std::optional<LowRankGradient> blockwise_gradient(const StoredWeight& weight, const LinearGradient& linear);

// Of a term outside of the quantizer, Ŵ = base + γ·A·B with lora_a [N, R] and lora_b [R, K]:
//     dA = dyᵀ (x Bᵀ)     dB = (dy A)ᵀ x
LowRankGradient adapter_gradient(const LinearGradient& linear, const at::Tensor& lora_a,
                                 const at::Tensor& lora_b);

}  // namespace lrqat::ops
