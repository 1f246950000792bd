// AWQ's search (arXiv 2306.00978): input channels with large activations matter most, so their weights are
// enlarged before rounding and the inputs made smaller by as much,
//     t_k = m_k^α / sqrt(max · min of m^α)      m_k = mean |x_k|      α = argmin ‖(Q(W·diag(t))·diag(1/t) -
//     W)·X‖
// over α = 0, 1/20, …, 19/20 (α = 0: nothing changes). N out_features, K in_features.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

namespace lrqat::quant {

struct InputStatistics {
  at::Tensor hessian;   // Σ 2·x·xᵀ, float32 [K, K]
  at::Tensor mean_abs;  // mean |x|, float32 [K]
};

// The float values of rounding a weight, float32 [N, K].
using RoundValues = std::function<at::Tensor(const at::Tensor& weight)>;

// The factors t, float32 [K], for matrices (each [N, K]) that read the same input; round: one a matrix.
at::Tensor search_channel_scales(at::TensorList weights, const InputStatistics& input,
                                 const std::vector<RoundValues>& round);

}  // namespace lrqat::quant
