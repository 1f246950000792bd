// Learned rounding on tensors of any device: the weight that it makes, and its step
// (kernels/learned_rounding.h has the formulas). N out_features, K in_features, G scales a row.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "lrqat/ops/weight_gradient.h"

namespace lrqat::ops {

// The codes of v are int16 from -kLargestRoundingCode to kLargestRoundingCode, which is ±1/2.
inline constexpr int kLargestRoundingCode = 1 << 14;

struct LearnedRounding {
  at::Tensor weight;        // W, float32 [N, K]
  at::Tensor rounding;      // codes of v, int16 [N, K]
  at::Tensor scale;         // s, float32 [N, G], of either sign, not zero
  at::Tensor zero_point{};  // z, float32 [N, G]; undefined: 0
  int quant_min = 0, quant_max = 0;
};

// Fills `out`, [N, K], from rows [row_begin, row_end) on: int8 receives codes, float32 and bfloat16 values.
void round_learned(const LearnedRounding& state, std::int64_t row_begin, std::int64_t row_end,
                   const at::Tensor& out);

// v takes one step of sign descent, of the size `step` (0 to 1/2), against dL/dŴ of the linear, which is used
// up piece by piece. grad_scale and grad_zero_point, float32 [N, G] (the latter undefined: not wanted),
// become ds and dz of the state before the step.
void step_rounding(const LearnedRounding& state, const LinearGradient& linear, double step,
                   const at::Tensor& grad_scale, const at::Tensor& grad_zero_point);

}  // namespace lrqat::ops
