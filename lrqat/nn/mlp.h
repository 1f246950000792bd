// The gated feed-forward part: down(f(gate(x)) ⊙ up(x)), f silu or gelu.
#pragma once

#include <ATen/core/Tensor.h>

#include "lrqat/nn/activation_point.h"
#include "lrqat/nn/linear.h"

namespace lrqat::nn {

// silu(gate) ⊙ up, silu(g) = g / (1 + exp(-g)). Differentiable; keeps only gate and up for backward.
at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up);
// gelu(gate) ⊙ up, gelu(g) = g / 2 · (1 + tanh(sqrt(2/π) (g + 0.044715 g³))). The same.
at::Tensor geglu(const at::Tensor& gate, const at::Tensor& up);

struct MlpPoints {
  ActivationPoint input;    // of gate_proj and up_proj
  ActivationPoint product;  // f(gate) ⊙ up, or its Hadamard transform, into down_proj
};

struct Mlp {
  Linear gate_proj;
  Linear up_proj;
  Linear down_proj;
  bool gelu = false;      // f: gelu, else silu
  bool hadamard = false;  // down_proj reads the Hadamard transform of the product
  MlpPoints points{};

  // down_product: as Linear::forward's, of the last linear.
  at::Tensor forward(const at::Tensor& x, at::Tensor* down_product = nullptr) const;
};

}  // namespace lrqat::nn
