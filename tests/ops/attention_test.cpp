#include "lrqat/ops/attention.h"

#include <ATen/ATen.h>
#include <ATen/SDPBackend.h>
#include <ATen/ops/_fused_sdp_choice.h>
#include <gtest/gtest.h>

#include "tests/nn/numeric_gradient.h"

namespace lrqat::ops {
namespace {

struct Operands {
  at::Tensor q, k, v;
};

Operands random_operands(std::int64_t heads, std::int64_t kv_heads, std::int64_t queries, std::int64_t keys,
                         at::ScalarType type = at::kFloat) {
  at::manual_seed(heads * 1000 + queries);
  return {at::randn({2, heads, queries, 8}, type), at::randn({2, kv_heads, keys, 8}, type),
          at::randn({2, kv_heads, keys, 8}, type)};
}

// The definition, in float64: scores, mask, softmax, product; every query head with its group's keys.
at::Tensor reference(const Operands& x, std::int64_t window = 0) {
  const std::int64_t group = x.q.size(1) / x.k.size(1);
  const at::Tensor k = x.k.to(at::kDouble).repeat_interleave(group, 1);
  const at::Tensor v = x.v.to(at::kDouble).repeat_interleave(group, 1);
  at::Tensor scores = at::matmul(x.q.to(at::kDouble), k.transpose(2, 3)) / std::sqrt(8.0);
  const std::int64_t queries = x.q.size(2), keys = x.k.size(2);
  for (std::int64_t i = 0; i < queries; ++i) {
    const std::int64_t visible = i + keys - queries + 1;
    if (visible < keys) scores.select(2, i).slice(2, visible, keys).fill_(-1e300);
    if (window > 0 && visible > window) scores.select(2, i).slice(2, 0, visible - window).fill_(-1e300);
  }
  return at::matmul(at::softmax(scores, -1), v);
}

// Float32 products of 8 and sums over at most 40 keys with weights that add up to 1: a few units of 2^-24.
constexpr double kTolerance = 2e-6;

double difference(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

TEST(CausalAttention, EqualsTheDefinition) {
  for (const auto& [heads, kv_heads] : {std::pair{4, 4}, {6, 2}, {3, 1}}) {
    for (const auto& [queries, keys] : {std::pair{33, 33}, {1, 1}, {1, 40}, {7, 40}, {2, 3}}) {
      const Operands x = random_operands(heads, kv_heads, queries, keys);
      EXPECT_LT(difference(causal_attention(x.q, x.k, x.v), reference(x)), kTolerance)
          << heads << " heads, " << kv_heads << " key heads, " << queries << " queries, " << keys << " keys";
    }
  }
}

TEST(CausalAttention, AWindowEndsAtItsSize) {
  for (const auto& [queries, keys] : {std::pair{33, 33}, {1, 1}, {1, 40}, {7, 40}, {2, 3}}) {
    const Operands x = random_operands(6, 2, queries, keys);
    for (const std::int64_t window : {1, 2, 7, 39, 40, 100}) {
      const at::Tensor out = causal_attention(x.q, x.k, x.v, window);
      EXPECT_LT(difference(out, reference(x, window)), kTolerance) << queries << " " << keys << " " << window;
      if (window + 1 >= keys) continue;  // the control
      EXPECT_GT(difference(out, reference(x, window + 1)), 100 * kTolerance);
    }
  }
}

TEST(CausalAttention, ALaterKeyChangesNothing) {
  Operands x = random_operands(4, 2, 10, 10);
  const at::Tensor before = causal_attention(x.q, x.k, x.v);
  x.k.select(2, 6).add_(1.0);
  const at::Tensor after = causal_attention(x.q, x.k, x.v);
  EXPECT_TRUE(at::equal(before.narrow(2, 0, 6), after.narrow(2, 0, 6)));
  for (int query = 6; query < 10; ++query) {
    EXPECT_GT(difference(before.select(2, query), after.select(2, query)), 1e-3) << query;
  }
}

TEST(CausalAttention, GradientsEqualCentralDifferences) {
  const Operands x = random_operands(4, 2, 5, 5, at::kDouble);
  const auto error = [](const auto& function, const at::Tensor& at) {
    return nn::testing::gradient_error(function, at);
  };
  EXPECT_LT(error([&](const at::Tensor& q) { return causal_attention(q, x.k, x.v); }, x.q),
            nn::testing::kGradientTolerance);
  EXPECT_LT(error([&](const at::Tensor& k) { return causal_attention(x.q, k, x.v); }, x.k),
            nn::testing::kGradientTolerance);
  EXPECT_LT(error([&](const at::Tensor& v) { return causal_attention(x.q, x.k, v); }, x.v),
            nn::testing::kGradientTolerance);
}

// The call of causal_attention must reach the flash kernel on the CPU: the other way keeps a T×T matrix a
// head.
TEST(CausalAttention, ReachesTheFlashKernel) {
  const auto flash = static_cast<std::int64_t>(at::SDPBackend::flash_attention);
  for (const bool with_gradient : {false, true}) {
    const at::Tensor q = at::randn({2, 64, 9, 64}).requires_grad_(with_gradient).transpose(1, 2);
    const at::Tensor k = at::randn({2, 64, 3, 64}).requires_grad_(with_gradient).transpose(1, 2);
    EXPECT_EQ(at::_fused_sdp_choice(q, k, k, {}, 0.0, true, 0.125, true), flash) << with_gradient;
    EXPECT_EQ(at::_fused_sdp_choice(q.narrow(2, 0, 1), k, k, {}, 0.0, false, 0.125, true), flash);
  }
  const at::Tensor odd = at::randn({2, 3, 4, 8}).expand({2, 3, 4, 8}).to(at::kLong);
  EXPECT_NE(at::_fused_sdp_choice(odd, odd, odd, {}, 0.0, true, 0.125, true), flash) << "negative control";
}

}  // namespace
}  // namespace lrqat::ops
