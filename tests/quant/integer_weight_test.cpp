#include "lrqat/quant/integer_weight.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "lrqat/base/error.h"
#include "tests/quant/drawn_weight.h"
#include "tests/quant/expect_error.h"

namespace lrqat::quant {
namespace {

using testing::expect_error;

QuantizedWeight drawn(int bits, const char* granularity, std::int64_t rows, std::int64_t cols) {
  at::manual_seed(5);
  QuantizedWeight weight;
  weight.grid = Grid::signed_symmetric(bits);
  weight.granularity = Granularity::parse(granularity);
  weight.weight_int =
      at::randint(weight.grid.quant_min, weight.grid.quant_max + 1, {rows, cols}).to(at::kChar);
  weight.scale = at::rand(weight.granularity.scale_shape(rows, cols)) + 0.01;
  weight.clipped_fraction = 0.125;
  return weight;
}

TEST(IntegerWeight, HoldsEveryCode) {
  for (const int bits : {2, 3, 4, 8}) {
    for (const std::int64_t cols : {1, 7, 16, 33}) {
      const QuantizedWeight weight = drawn(bits, "channel", 6, cols);
      const IntegerWeight held("layer", weight);
      EXPECT_TRUE(at::equal(held.convert().weight_int, weight.weight_int)) << bits << " bits, " << cols;
      EXPECT_TRUE(at::equal(held.make_tile(1, 5, ops::ComputeType::float32).values,
                            (weight.scale * weight.weight_int).slice(0, 1, 5)));
      EXPECT_EQ(held.convert().clipped_fraction, 0.125);
      const std::int64_t row = bits == 8 ? cols : (cols + 1) / 2;
      EXPECT_EQ(held.resident_bytes(), 6 * row + 6 * 4);
    }
  }
  QuantizedWeight all = drawn(8, "tensor", 16, 16);
  all.weight_int = at::arange(-128, 128).to(at::kChar).view({16, 16});
  EXPECT_TRUE(at::equal(IntegerWeight("layer", all).convert().weight_int, all.weight_int));
}

TEST(IntegerWeight, RefusesWhatDoesNotFit) {
  const auto hold = [](const QuantizedWeight& weight) {
    return [=] { IntegerWeight("model.layers.1.mlp.down_proj", weight); };
  };
  const std::string layer = "model.layers.1.mlp.down_proj";
  QuantizedWeight weight = drawn(4, "channel", 4, 16);
  weight.weight_int[2][3] = 8;
  expect_error<Error>(hold(weight), {layer, "to 8", "[-8, 7]", "4 bits"});
  weight = drawn(2, "channel", 4, 16);
  weight.weight_int[0][0] = -3;
  expect_error<Error>(hold(weight), {layer, "from -3", "[-2, 1]"});
  weight = drawn(4, "channel", 4, 16);
  weight.scale = weight.scale.t();
  expect_error<Error>(hold(weight), {layer, "[1, 4]", "[4, 1]", "channel"});
  weight = drawn(4, "group:8", 4, 16);
  weight.scale = weight.scale.slice(1, 0, 1);
  expect_error<Error>(hold(weight), {layer, "[4, 2]", "group:8"});
  weight = drawn(4, "group:8", 4, 16);
  weight.granularity = Granularity::parse("group:5");
  expect_error<Error>(hold(weight), {layer, "5", "16"});
}

// q = clip(round(W / s)) with half to even, s snapped as it will be stored; a weight of several tiles.
TEST(RoundToNearest, EqualsItsDefinition) {
  at::manual_seed(6);
  for (const char* granularity : {"tensor", "channel", "group:32"}) {
    for (const char* range : {"minmax", "lp:2"}) {
      const at::Tensor weight = at::randn({300, 1024});
      const Granularity kind = Granularity::parse(granularity);
      const auto rounded =
          round_to_nearest("layer", weight, {Grid::signed_symmetric(3), kind}, RangeEstimator::parse(range));
      const at::Tensor start = RangeEstimator::parse(range).estimate(weight, Grid::signed_symmetric(3), kind);
      EXPECT_TRUE(at::equal(rounded.scale, start.to(at::kHalf).to(at::kFloat)));
      const at::Tensor scale = rounded.scale.repeat_interleave(1024 / rounded.scale.size(1), 1);
      const at::Tensor q = (weight / scale).round();
      EXPECT_TRUE(at::equal(rounded.weight_int, q.clamp(-4, 3).to(at::kChar))) << granularity << " " << range;
      const double clipped = q.ne(q.clamp(-4, 3)).to(at::kDouble).mean().item<double>();
      EXPECT_NEAR(rounded.clipped_fraction, clipped, 1e-12);
    }
  }
}

TEST(RoundToNearest, RowOfZerosAndErrors) {
  const auto round = [](const at::Tensor& weight, const char* granularity) {
    return round_to_nearest("model.layers.1.mlp.down_proj", weight,
                            {Grid::signed_symmetric(4), Granularity::parse(granularity)});
  };
  const QuantizedWeight zeros = round(at::zeros({3, 8}), "channel");
  EXPECT_TRUE(zeros.weight_int.eq(0).all().item<bool>());
  EXPECT_TRUE(zeros.scale.gt(0).all().item<bool>()) << "a scale of zero would make 0 / 0";
  EXPECT_NO_THROW(IntegerWeight("layer", zeros));
  expect_error<Error>([&] { round(at::ones({3, 8}), "group:5"); }, {"model.layers.1.mlp.down_proj", "5"});
  expect_error<Error>(
      [&] {
        round(at::full({3, 8}, std::nanf("")), "channel");
      },
      {"model.layers.1.mlp.down_proj", "not finite"});
}

// Why Φ0 keeps a fraction: LR-QAT starts from another rounding than to the nearest only where φ has rounded
// first.
TEST(RoundToNearest, IsWhereLrQatWithExactPhiStarts) {
  at::manual_seed(7);
  const at::Tensor weight = at::randn({32, 64});
  const auto options = testing::options_of(4, "channel", Downcast::float32);
  const auto start = methods::LrQatWeight::prepare("layer", weight, options, {}, 1)->convert();
  const auto rounded = round_to_nearest("layer", weight, options.spec(/*symmetric=*/true));
  EXPECT_TRUE(at::equal(start.weight_int, rounded.weight_int));
  EXPECT_TRUE(at::equal(start.scale, rounded.scale));
}

}  // namespace
}  // namespace lrqat::quant
