#include "lrqat/nn/rms_norm.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "tests/nn/numeric_gradient.h"

namespace lrqat::nn {
namespace {

using testing::gradient_error;
using testing::kGradientTolerance;

struct Gradients {
  at::Tensor y, x, weight;
};

Gradients run(const at::Tensor& x_value, const at::Tensor& weight_value, const at::Tensor& grad) {
  const at::Tensor x = x_value.clone().requires_grad_(), weight = weight_value.clone().requires_grad_();
  const at::Tensor y = rms_norm(x, weight, 1e-5);
  const auto grads = torch::autograd::grad({y}, {x, weight}, {grad});
  return {y.detach(), grads[0], grads[1]};
}

double relative(const at::Tensor& a, const at::Tensor& b) {
  return ((a.to(at::kDouble) - b).abs().max() / b.abs().max()).item<double>();
}

TEST(RmsNorm, IsTheFormula) {
  const at::Tensor x = at::tensor({3.0F, 4.0F}).view({1, 2}), weight = at::tensor({2.0F, 0.5F});
  const at::Tensor y = rms_norm(x, weight, 0.5);  // mean of squares 12.5, plus eps 13
  EXPECT_NEAR(y[0][0].item<float>(), 6.0 / std::sqrt(13.0), 1e-6);
  EXPECT_NEAR(y[0][1].item<float>(), 2.0 / std::sqrt(13.0), 1e-6);
}

TEST(RmsNorm, GradientsEqualCentralDifferences) {
  at::manual_seed(0);
  const at::Tensor x = at::randn({3, 7}, at::kDouble), weight = at::randn({7}, at::kDouble);
  EXPECT_LT(gradient_error([&](const at::Tensor& v) { return rms_norm(v, weight, 1e-5); }, x),
            kGradientTolerance);
  EXPECT_LT(gradient_error([&](const at::Tensor& v) { return rms_norm(x, v, 1e-5); }, weight),
            kGradientTolerance);
  EXPECT_GT(
      gradient_error([&](const at::Tensor& v) { return rms_norm(v.detach() + 0 * v, weight, 1e-5); }, x), 0.1)
      << "negative control";
}

TEST(RmsNorm, RowKernelEqualsTheFloat64Form) {
  at::manual_seed(1);
  for (const std::int64_t size : {5, 64, 577}) {
    const at::Tensor x = at::randn({2, 37, size}), weight = at::randn({size}),
                     grad = at::randn({2, 37, size});
    const Gradients kernel = run(x, weight, grad);
    const Gradients reference = run(x.to(at::kDouble), weight.to(at::kDouble), grad.to(at::kDouble));
    // A handful of roundings and a sum of `size` squares: a few units of 2^-24 = 6e-8 relative to the largest
    // entry; in dx the two terms of a short row nearly cancel, which makes the error four times larger.
    EXPECT_LT(relative(kernel.y, reference.y), 1e-6);
    EXPECT_LT(relative(kernel.x, reference.x), 4e-6);
    EXPECT_LT(relative(kernel.weight, reference.weight), 4e-6);  // a sum over 74 rows
  }
}

TEST(RmsNorm, TakesStridedInput) {
  at::manual_seed(2);
  const at::Tensor x = at::randn({8, 5}).t(), weight = at::randn({8});
  EXPECT_TRUE(at::equal(rms_norm(x, weight, 1e-5), rms_norm(x.contiguous(), weight, 1e-5)));
}

}  // namespace
}  // namespace lrqat::nn
