#include "lrqat/quant/range_estimator.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "lrqat/base/error.h"
#include "tests/quant/drawn_weight.h"
#include "tests/quant/expect_error.h"

namespace lrqat::quant {
namespace {

using testing::expect_error;

const Grid kFourBits = Grid::signed_symmetric(4);
const Granularity kChannel = Granularity::parse("channel");

at::Tensor estimate(const char* estimator, const at::Tensor& weight, const Grid& grid = kFourBits) {
  return RangeEstimator::parse(estimator).estimate(weight, grid, kChannel);
}

TEST(RangeEstimator, NamesRoundTrip) {
  for (const char* name : {"minmax", "lp:2", "lp:2.4", "lp:3.5"})
    EXPECT_EQ(RangeEstimator::parse(name).name(), name);
  EXPECT_EQ(RangeEstimator::parse("mse").name(), "lp:2");
  for (const char* name : {"", "max", "lp", "lp:", "lp:0", "lp:-2", "lp:21", "lp:2x", "lp:nan"}) {
    expect_error<UsageError>([&] { RangeEstimator::parse(name); }, {"`range`", "minmax", "lp:3.5"});
  }
}

TEST(RangeEstimator, MinMaxIsTheLargestMagnitude) {
  const at::Tensor weight = at::tensor({-0.7F, 0.2F, 0.1F, -0.1F, 0.0F, 1.4F}).view({2, 3});
  const at::Tensor scale = estimate("minmax", weight);
  EXPECT_FLOAT_EQ(scale[0].item<float>(), 0.7F / 7.0F);
  EXPECT_FLOAT_EQ(scale[1].item<float>(), 1.4F / 7.0F);
}

// Rows of zeros, of one value, of tiny and of huge numbers: the scale is positive and finite, and rounding
// with it is no worse than a step.
TEST(RangeEstimator, EdgeRows) {
  at::manual_seed(1);
  const at::Tensor weight = at::stack({at::zeros({32}), at::full({32}, 0.5F), at::full({32}, -0.5F),
                                       at::randn({32}) * 1e-20, at::randn({32}) * 1e20, at::randn({32}).abs(),
                                       -at::randn({32}).abs(), at::full({32}, 1e-30F)});
  for (const char* name : {"minmax", "lp:2", "lp:2.4", "lp:3.5", "lp:5", "lp:20"}) {
    for (const int bits : {2, 3, 4, 8}) {
      const at::Tensor scale = estimate(name, weight, Grid::signed_symmetric(bits));
      EXPECT_TRUE(scale.isfinite().all().item<bool>()) << name;
      EXPECT_TRUE(scale.gt(0).all().item<bool>()) << name << " " << bits;
      const at::Tensor bound = weight.abs().amax(1, true);
      EXPECT_TRUE((scale * (1 << (bits - 1))).le(2.0 * bound + 1e-7).all().item<bool>())
          << name << " " << bits;
    }
  }
}

TEST(RangeEstimator, OneWeightAGroup) {
  const at::Tensor weight = at::tensor({0.7F, -1.4F}).view({1, 2});
  const at::Tensor scale = RangeEstimator().estimate(weight, kFourBits, Granularity::parse("group:1"));
  EXPECT_FLOAT_EQ(scale[0][0].item<float>(), 0.1F);
  EXPECT_FLOAT_EQ(scale[0][1].item<float>(), 0.2F);
}

// Powers of two scale along exactly, as a range should: nothing in the search depends on the unit of the
// weights.
TEST(RangeEstimator, DoesNotDependOnTheUnit) {
  at::manual_seed(2);
  const at::Tensor weight = at::randn({6, 64});
  for (const char* name : {"minmax", "lp:2", "lp:3.5", "lp:4"}) {
    const at::Tensor scale = estimate(name, weight);
    EXPECT_TRUE(at::equal(estimate(name, weight * 0x1p-10), scale * 0x1p-10)) << name;
    EXPECT_TRUE(at::equal(estimate(name, weight * 0x1p20), scale * 0x1p20)) << name;
  }
}

double loss(const at::Tensor& row, double scale, double p, const Grid& grid) {
  const at::Tensor w = row.to(at::kDouble);
  const at::Tensor q = (w / scale).round().clamp(grid.quant_min, grid.quant_max);
  return (w - scale * q).abs().pow(p).sum().item<double>();
}

// No candidate of the grid search is better, by float64 and by brute force.
TEST(RangeEstimator, LpIsTheBestCandidate) {
  at::manual_seed(3);
  const at::Tensor weight = at::randn({5, 96});
  for (const int bits : {2, 3, 4}) {
    const Grid grid = Grid::signed_symmetric(bits);
    for (const double p : {2.0, 2.4, 3.5, 4.0}) {
      RangeEstimator estimator = RangeEstimator::parse(concat("lp:", p));
      const at::Tensor scale = estimator.estimate(weight, grid, kChannel);
      for (std::int64_t n = 0; n < 5; ++n) {
        const double largest = weight[n].abs().max().item<double>();
        double best = std::numeric_limits<double>::infinity();
        for (int i = 1; i <= 100; ++i)
          best = std::min(best, loss(weight[n], largest * i / 100 / grid.quant_max, p, grid));
        EXPECT_NEAR(loss(weight[n], scale[n].item<double>(), p, grid) / best, 1.0, 1e-4)
            << bits << " p " << p;
        EXPECT_LT(best, loss(weight[n], largest / grid.quant_max, p, grid) * 1.000001)
            << "minmax is a candidate";
      }
    }
  }
}

TEST(RangeEstimator, PercentileLeavesOutliersOut) {
  at::Tensor weight = at::linspace(-1.0, 1.0, 101).view({1, 101}).clone();
  weight[0][0] = -50.0;
  RangeEstimator estimator;
  estimator.percentile = 5.0;
  EXPECT_NEAR(estimator.estimate(weight, kFourBits, kChannel).item<double>(), 0.9 / 7.0, 1e-6);
  EXPECT_NEAR(estimate("minmax", weight).item<double>(), 50.0 / 7.0, 1e-6);
}

// tensor, channel and group are one code path over rows of equal length.
TEST(RangeEstimator, GranularitiesAgree) {
  at::manual_seed(4);
  const at::Tensor weight = at::randn({4, 32});
  for (const char* name : {"minmax", "lp:3.5"}) {
    const auto estimator = RangeEstimator::parse(name);
    const at::Tensor groups = estimator.estimate(weight, kFourBits, Granularity::parse("group:8"));
    EXPECT_TRUE(
        at::equal(groups.view({16, 1}), estimator.estimate(weight.view({16, 8}), kFourBits, kChannel)));
    const at::Tensor whole = estimator.estimate(weight, kFourBits, Granularity::parse("tensor"));
    EXPECT_TRUE(at::equal(whole, estimator.estimate(weight.view({1, 128}), kFourBits, kChannel)));
  }
}

// A range that is given is taken as it is, whatever the weight; zero points come back as they went in.
TEST(InitialRange, IsWhatIsGivenOrWhatAnEstimatorFinds) {
  at::manual_seed(4);
  const at::Tensor weight = at::randn({6, 32});
  const at::Tensor scale = at::rand({6, 2}) + 0.1,
                   zero = at::tensor({-8, -3, 0, 1, 5, 7, -8, 2, 3, 4, -1, 7}, at::kChar).view({6, 2});
  QuantSpec spec{.grid = kFourBits, .granularity = Granularity::parse("group:16")};
  const QuantRange given = InitialRange(QuantRange::of(scale, {}, kFourBits)).of(weight, spec);
  EXPECT_TRUE(at::equal(given.scale, scale));
  EXPECT_FALSE(given.zero_point(kFourBits).defined());
  const auto lp = RangeEstimator::parse("lp:2");
  EXPECT_TRUE(
      at::equal(InitialRange(lp).of(weight, spec).scale, lp.estimate(weight, kFourBits, spec.granularity)));
  EXPECT_FALSE(InitialRange(lp).of(weight, spec).zero_float.defined());
  EXPECT_THROW(InitialRange(QuantRange::of(scale, zero, kFourBits)).of(weight, spec), InternalError);

  spec.symmetric = false;
  const QuantRange shifted = InitialRange(QuantRange::of(scale, zero, kFourBits)).of(weight, spec);
  EXPECT_TRUE(at::equal(shifted.scale, scale));
  EXPECT_TRUE(at::equal(shifted.zero_point(kFourBits), zero));
  const QuantRange found = InitialRange(lp).of(weight, spec),
                   same = lp.estimate_asymmetric(weight, kFourBits, spec.granularity);
  EXPECT_TRUE(at::equal(found.scale, same.scale));
  EXPECT_TRUE(at::equal(found.zero_float, same.zero_float));
}

}  // namespace
}  // namespace lrqat::quant
