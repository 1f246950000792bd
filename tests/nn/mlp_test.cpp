#include "lrqat/nn/mlp.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "tests/nn/numeric_gradient.h"

namespace lrqat::nn {
namespace {

TEST(Swiglu, GradientsEqualCentralDifferences) {
  at::manual_seed(0);
  const at::Tensor gate = at::randn({4, 5}, at::kDouble) * 3, up = at::randn({4, 5}, at::kDouble);
  EXPECT_LT(testing::gradient_error([&](const at::Tensor& v) { return swiglu(v, up); }, gate),
            testing::kGradientTolerance);
  EXPECT_LT(testing::gradient_error([&](const at::Tensor& v) { return swiglu(gate, v); }, up),
            testing::kGradientTolerance);
}

TEST(Swiglu, EqualsTheCompositeOverManyBlocks) {
  at::manual_seed(1);
  const at::Tensor gate = (at::randn({3, 47, 300}) * 2).requires_grad_();
  const at::Tensor up = at::randn({3, 47, 300}).requires_grad_();
  const at::Tensor grad = at::randn({3, 47, 300});
  const at::Tensor ours = swiglu(gate, up), composite = at::silu(gate) * up;
  // silu is within 2 units of 2^-24 whichever vector path it takes; entries stay below 30
  EXPECT_LT((ours - composite).abs().max().item<double>(), 4e-6);
  const auto a = torch::autograd::grad({ours}, {gate, up}, {grad});
  const auto b = torch::autograd::grad({composite}, {gate, up}, {grad});
  // Products of three numbers in another order: 2 units of 2^-24 of entries below 30
  EXPECT_LT((a[0] - b[0]).abs().max().item<double>(), 4e-6);
  EXPECT_LT((a[1] - b[1]).abs().max().item<double>(), 4e-6);
}

TEST(Geglu, EqualsTheComposite) {
  at::manual_seed(2);
  const at::Tensor gate = at::randn({4, 5}, at::kDouble) * 3, up = at::randn({4, 5}, at::kDouble);
  EXPECT_LT((geglu(gate, up) - at::gelu(gate, "tanh") * up).abs().max().item<double>(), 1e-14);
  EXPECT_GT((geglu(gate, up) - at::gelu(gate, "none") * up).abs().max().item<double>(), 1e-5)
      << "not exact GELU";
  EXPECT_LT(testing::gradient_error([&](const at::Tensor& v) { return geglu(v, up); }, gate),
            testing::kGradientTolerance);
  EXPECT_LT(testing::gradient_error([&](const at::Tensor& v) { return geglu(gate, v); }, up),
            testing::kGradientTolerance);
}

}  // namespace
}  // namespace lrqat::nn
