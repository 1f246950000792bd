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
  double offset = 0;  // of the weight: Gemma multiplies by 1 + weight

  at::Tensor forward(const at::Tensor& x) const;
};

}  // namespace lrqat::nn
