// The gated feed-forward part: down(silu(gate(x)) ⊙ up(x)).
#pragma once

#include <ATen/core/Tensor.h>

#include "lrqat/nn/linear.h"

namespace lrqat::nn {

// silu(gate) ⊙ up, silu(g) = g / (1 + exp(-g)). Differentiable; keeps only gate and up for backward.
at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up);

struct Mlp {
  Linear gate_proj;
  Linear up_proj;
  Linear down_proj;

  // down_product: as Linear::forward's, of the last linear.
  at::Tensor forward(const at::Tensor& x, at::Tensor* down_product = nullptr) const;
};

}  // namespace lrqat::nn
