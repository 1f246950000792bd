// Test helper: float64 central differences against autograd.
#pragma once

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include <functional>

namespace lrqat::nn::testing {

// Largest |autograd - central difference| over the entries of `x`, for the scalar sum(weight ⊙ function(x))
// with fixed random weights, relative to the largest gradient. float64 and step 1e-5: the truncation error is
// about step² = 1e-10 and the rounding error about 1e-16 / 1e-5 = 1e-11, times third derivatives of order 1
// to 100.
inline double gradient_error(const std::function<at::Tensor(const at::Tensor&)>& function, at::Tensor x) {
  x = x.to(at::kDouble).contiguous().requires_grad_();
  const at::Tensor y = function(x);
  const at::Tensor weights = at::randn(y.sizes(), at::kDouble);
  const at::Tensor gradient = torch::autograd::grad({(y * weights).sum()}, {x})[0].contiguous();
  constexpr double kStep = 1e-5;
  at::Tensor numeric = at::empty_like(gradient);
  const at::NoGradGuard no_grad;
  at::Tensor moved = x.detach().clone();
  double* values = moved.data_ptr<double>();
  for (std::int64_t i = 0; i < moved.numel(); ++i) {
    const double value = values[i];
    values[i] = value + kStep;
    const double up = (function(moved) * weights).sum().item<double>();
    values[i] = value - kStep;
    const double down = (function(moved) * weights).sum().item<double>();
    values[i] = value;
    numeric.data_ptr<double>()[i] = (up - down) / (2 * kStep);
  }
  return ((gradient - numeric).abs().max() / gradient.abs().max()).item<double>();
}

constexpr double kGradientTolerance = 1e-7;

}  // namespace lrqat::nn::testing
