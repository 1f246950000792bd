// GPTQ (arXiv 2210.17323): rounding column by column, each column's error compensated by the columns after
// it, so that ‖(W - Ŵ)·X‖ stays small on the calibration inputs X rather than ‖W - Ŵ‖. With H = 2·X·Xᵀ and
// H⁻¹ = Uᵀ·U, U upper triangular,
//     u_j = w_j / s + z      q_j = clip(round(u_j))      e = (w_j - s·(q_j - z)) / U_jj      w_k -= e·U_jk, k
//     > j
// on the grid that rounding to nearest would use: same bits, sharing, range estimator and scale type, scales
// from the weight before any compensation. N out_features, K in_features, G scales a row.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "lrqat/quant/range_estimator.h"
#include "lrqat/quant/scale_parameter.h"
#include "lrqat/quant/weight_parametrization.h"

namespace lrqat::quant {

// Integers together with what they were rounded from:
// weight_int = clip(round(unrounded), quant_min, quant_max), entry by entry.
struct RoundedWeight {
  QuantizedWeight rounded;
  at::Tensor unrounded;  // float32 [N, K], in steps of the grid, zero point included
};

// The weight in float, float32 [N, K], that a method which keeps its weight in `storage` starts from: s·(u -
// z), or s·(q - z) where the former, once stored, would not round to q again.
at::Tensor float_values(const RoundedWeight& weight, at::ScalarType storage);

// What the inputs of a linear say about the order of its columns and about how errors spread; linears that
// read the same input share it.
struct GptqFactor {
  at::Tensor order;  // int64 [K]: the column that comes at each place
  at::Tensor upper;  // U, float32 [K, K], rows and columns in that order

  // hessian float32 [K, K], any positive multiple of Σ x·xᵀ; it is used up: its memory becomes U. `damping`
  // times the mean of its diagonal is added to the diagonal; inputs that are always zero count as
  // uncorrelated. by_activation: columns in the order of falling diagonal ("act-order"), else as they are.
  // Error where the values are not finite.
  static GptqFactor from_hessian(at::Tensor hessian, double damping, bool by_activation);
};

// weight float32 [N, K]; `name` is for messages.
RoundedWeight gptq(const std::string& name, const at::Tensor& weight, const GptqFactor& factor,
                   const QuantSpec& spec, const InitialRange& range);

}  // namespace lrqat::quant
