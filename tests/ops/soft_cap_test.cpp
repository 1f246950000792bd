#include "lrqat/ops/soft_cap.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "lrqat/ops/attention.h"
#include "tests/nn/numeric_gradient.h"

namespace lrqat::ops {
namespace {

at::Tensor causal(std::int64_t tokens) { return at::ones({tokens, tokens}, at::kBool).tril(); }

TEST(SoftCap, BendsAndKeepsItsSlope) {
  at::manual_seed(0);
  const at::Tensor x = at::randn({3, 7}, at::kDouble) * 5;
  EXPECT_TRUE(at::equal(soft_cap(x, 0), x));
  EXPECT_LT(soft_cap(x, 2).abs().max().item<double>(), 2);
  EXPECT_LT(nn::testing::gradient_error([](const at::Tensor& v) { return soft_cap(v, 2); }, x),
            nn::testing::kGradientTolerance);
}

// A cap that is far away bends nothing: the kernel without caps must come out.
TEST(SoftCap, FarAwayIsPlainAttention) {
  at::manual_seed(1);
  const at::Tensor q = at::randn({2, 4, 9, 8}), k = at::randn({2, 2, 9, 8}), v = at::randn({2, 2, 9, 8});
  const at::Tensor plain = causal_attention(q, k, v);
  EXPECT_LT((soft_capped_attention(q, k, v, causal(9), 1e4) - plain).abs().max().item<double>(), 1e-5);
  EXPECT_GT((soft_capped_attention(q, k, v, causal(9), 0.5) - plain).abs().max().item<double>(), 1e-2);
}

TEST(SoftCap, AttentionHasTheGradientsOfItsDefinition) {
  at::manual_seed(2);
  const auto options = at::TensorOptions(at::kDouble);
  const at::Tensor q = at::randn({1, 2, 5, 4}, options) * 3, k = at::randn({1, 1, 5, 4}, options) * 3,
                   v = at::randn({1, 1, 5, 4}, options);
  const auto attend = [&](const at::Tensor& a, const at::Tensor& b, const at::Tensor& c) {
    return soft_capped_attention(a, b, c, causal(5), 2.0);
  };
  EXPECT_LT(nn::testing::gradient_error([&](const at::Tensor& x) { return attend(x, k, v); }, q),
            nn::testing::kGradientTolerance);
  EXPECT_LT(nn::testing::gradient_error([&](const at::Tensor& x) { return attend(q, x, v); }, k),
            nn::testing::kGradientTolerance);
  EXPECT_LT(nn::testing::gradient_error([&](const at::Tensor& x) { return attend(q, k, x); }, v),
            nn::testing::kGradientTolerance);
}

}  // namespace
}  // namespace lrqat::ops
