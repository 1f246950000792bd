// The gated feed-forward part: down(silu(gate(x)) ⊙ up(x)).
#pragma once

#include <ATen/core/Tensor.h>

#include "lrqat/nn/activation_point.h"
#include "lrqat/nn/linear.h"

namespace lrqat::nn {

// silu(gate) ⊙ up, silu(g) = g / (1 + exp(-g)). Differentiable; keeps only gate and up for backward.
at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up);

struct MlpPoints {
  ActivationPoint input;    // of gate_proj and up_proj
  ActivationPoint product;  // silu(gate) ⊙ up, into down_proj
};

struct Mlp {
  Linear gate_proj;
  Linear up_proj;
  Linear down_proj;
  MlpPoints points{};

  at::Tensor forward(const at::Tensor& x) const;
};

}  // namespace lrqat::nn
