#include "lrqat/quant/low_rank_approximation.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace lrqat::quant {
namespace {

at::Tensor product(const LowRankFactors& factors, double scaling) {
  return scaling * at::mm(factors.left, factors.right);
}

// A matrix of rank 12 with noise under it: large enough for the randomised form.
TEST(LowRankApproximation, RandomisedFormFindsTheLeadingDirections) {
  at::manual_seed(1);
  const at::Tensor signal = at::mm(at::randn({600, 12}), at::randn({12, 500}));
  const at::Tensor matrix = signal + 0.01 * at::randn({600, 500});
  const at::Tensor found = product(low_rank_approximation(matrix, 12, 0.5, 3), 0.5);
  const auto [u, s, v] = at::linalg_svd(matrix, false);
  const at::Tensor best = at::mm(u.slice(1, 0, 12) * s.slice(0, 0, 12), v.slice(0, 0, 12));
  EXPECT_LT(((found - best).norm() / best.norm()).item<double>(), 1e-4);
}

// Of white noise (a flat spectrum, as rounding leaves it) nearly as much energy as the exact form.
TEST(LowRankApproximation, FlatSpectrum) {
  at::manual_seed(2);
  const at::Tensor matrix = at::rand({400, 700}) - 0.5;
  const double kept = product(low_rank_approximation(matrix, 16, 1.0, 3), 1.0).square().sum().item<double>();
  const at::Tensor s = std::get<1>(at::linalg_svd(matrix, false));
  const double most = s.slice(0, 0, 16).square().sum().item<double>();
  EXPECT_GT(kept, 0.97 * most);
  EXPECT_LT(kept, 1.0001 * most);
}

TEST(LowRankApproximation, SameSeedSameBits) {
  at::manual_seed(3);
  const at::Tensor matrix = at::randn({300, 400});
  const auto a = low_rank_approximation(matrix, 8, 1.0, 5), b = low_rank_approximation(matrix, 8, 1.0, 5);
  EXPECT_TRUE(at::equal(a.left, b.left) && at::equal(a.right, b.right));
  EXPECT_FALSE(at::equal(low_rank_approximation(matrix, 8, 1.0, 6).left, a.left)) << "negative control";
}

// Components that the matrix does not have can still be trained: their product is zero, one side is not.
TEST(LowRankApproximation, MissingDirectionsStayTrainable) {
  for (const at::Tensor& matrix : {at::zeros({8, 6}), at::mm(at::ones({8, 1}), at::ones({1, 6}))}) {
    const auto factors = low_rank_approximation(matrix, 7, 2.0, 1);
    EXPECT_EQ(factors.left.sizes(), at::IntArrayRef({8, 7}));
    EXPECT_TRUE(at::allclose(product(factors, 2.0), matrix, 1e-5, 1e-5));
    EXPECT_TRUE(factors.right.norm(2, {1}).gt(0).all().item<bool>());
  }
}

}  // namespace
}  // namespace lrqat::quant
