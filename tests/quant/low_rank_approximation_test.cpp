#include "lrqat/quant/low_rank_approximation.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "lrqat/methods/lr_qat_start.h"
#include "tests/quant/drawn_weight.h"

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

// Whatever the matrix: what adapters hold of a residue is a projection of it, and a later step that is worse
// does not count.
TEST(ApproximateResidue, IsNeverFartherThanRounding) {
  const auto round = [](const at::Tensor& u) { return u.round().clamp_(-8, 7); };
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    at::manual_seed(seed);
    const at::Tensor target = at::randn({24, 40}) * 4;
    double last = (target - round(target)).norm().item<double>();
    for (const int steps : {1, 2, 3, 5}) {
      const ResidueStart start = approximate_residue(target, round, 4, 0.5, steps, seed);
      const at::Tensor values = round(start.rounded_from) + product(start.factors, 0.5);
      const double distance = (target - values).norm().item<double>();
      EXPECT_LE(distance, (1 + 1e-6) * last) << seed << ", " << steps << " steps";
      if (steps == 1) {
        EXPECT_LT(distance, 0.95 * last);
      }
      last = distance;
    }
  }
}

// A Φ0 of codes keeps those that the adapters are the residue of: each row is as near as rounding, or nearer.
TEST(LrQatStart, CodesWithAdaptersAreNeverFartherThanRounding) {
  for (const auto downcast : {Downcast::int4, Downcast::integer}) {
    for (std::uint64_t seed = 0; seed < 10; ++seed) {
      at::manual_seed(seed);
      const at::Tensor weight = at::randn({24, 40}) * at::exp(at::randn({24, 1}));
      const methods::LrQatOptions options = testing::options_of(3, "channel", downcast, 4);
      const auto start = methods::start_lr_qat("layer", weight, options, {true, false, 1}, {}, seed);
      const Phi0 phi(start->buffers()[0].second, 40, downcast, options.grid, "phi_0");
      const auto parameters = start->parameters();
      const at::Tensor steps =
          phi.decode(0, 24) +
          options.lora_alpha / 4 * at::mm(parameters[0].value.detach(), parameters[1].value.detach());
      const auto distance = [&](const at::Tensor& values) {
        return (values * start->scale().effective() - weight).norm(2, {1});
      };
      const at::Tensor rounding =
          distance(divide_by_scale(weight, start->scale().effective()).round_().clamp_(-4, 3));
      EXPECT_TRUE(distance(steps).le(rounding * (1 + 1e-5)).all().item<bool>()) << seed;
    }
  }
}

}  // namespace
}  // namespace lrqat::quant
