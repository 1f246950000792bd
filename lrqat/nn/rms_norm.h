// Root-mean-square norm as Llama has it: y = weight ⊙ x / sqrt(mean(x²) + eps), in float32.
// H hidden size; x [..., H].
#pragma once

#include <ATen/core/Tensor.h>

namespace lrqat::nn {

// Differentiable in x and in weight; keeps x and one number a row for backward.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);

struct RmsNorm {
  at::Tensor weight;  // float32 [H]
  double eps = 1e-6;

  at::Tensor forward(const at::Tensor& x) const { return rms_norm(x, weight, eps); }
};

}  // namespace lrqat::nn
