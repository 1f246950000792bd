// What was trained is what is shipped: convert() gives the integers and scales of the forward pass, bit for
// bit.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "lrqat/base/error.h"
#include "lrqat/methods/lr_qat_start.h"
#include "lrqat/methods/peqa_weight.h"
#include "lrqat/nn/linear.h"
#include "lrqat/quant/integer_weight.h"
#include "tests/quant/drawn_weight.h"

namespace lrqat::quant {
namespace {

at::Tensor spread_scale(const QuantizedWeight& weight) {
  const std::int64_t group = weight.weight_int.size(1) / weight.scale.size(1);
  return weight.scale.repeat_interleave(group, 1);
}

void expect_same(const methods::LrQatWeight& trained, const std::string& name) {
  const std::int64_t rows = trained.out_features();
  const QuantizedWeight converted = trained.convert();
  const at::Tensor values = trained.make_tile(0, rows, ops::ComputeType::float32).values;
  EXPECT_TRUE(at::equal(values, spread_scale(converted) * converted.weight_int)) << name;
  const IntegerWeight shipped("layer", converted);
  const std::int64_t cut = rows / 3;
  for (const auto& [begin, end] :
       {std::pair<std::int64_t, std::int64_t>{0, rows}, {cut, rows}, {0, cut + 1}}) {
    for (const ops::ComputeType compute : {ops::ComputeType::float32, ops::ComputeType::bfloat16}) {
      const WeightTile before = trained.make_tile(begin, end, compute);
      const WeightTile after = shipped.make_tile(begin, end, compute);
      EXPECT_TRUE(at::equal(before.values, after.values)) << name;
      ASSERT_EQ(before.row_scale.defined(), after.row_scale.defined()) << name;
      if (before.row_scale.defined()) {
        EXPECT_TRUE(at::equal(before.row_scale, after.row_scale)) << name;
      }
    }
  }
  const QuantizedWeight again = shipped.convert();
  EXPECT_TRUE(at::equal(again.weight_int, converted.weight_int)) << name;
  EXPECT_TRUE(at::equal(again.scale, converted.scale)) << name;
  EXPECT_EQ(again.clipped_fraction, converted.clipped_fraction) << name;
}

TEST(Convert, GivesTheForwardPassBitForBit) {
  testing::for_each_kind([](methods::LrQatOptions options) {
    for (const std::int64_t width : {8, 48, 72, 136}) {
      for (const ScaleType type : {ScaleType::float32, ScaleType::float16, ScaleType::bfloat16}) {
        options.scale.type = type;
        const auto seed = static_cast<std::uint64_t>(width * 10 + static_cast<int>(type));
        const auto weight = testing::draw_weight(options, {17, width, 2.0, seed});
        expect_same(*weight, concat(testing::describe(options), ", width ", width));
      }
    }
  });
}

// Odd widths: a row's last byte holds one code. (Groups need a divisor, so these have one scale a row.)
TEST(Convert, OddWidthsAndManySeeds) {
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    const auto width = static_cast<std::int64_t>(1 + 2 * (seed % 37));
    auto options = testing::options_of(std::array{2, 3, 4, 8}[seed % 4], seed % 5 == 0 ? "tensor" : "channel",
                                       testing::kDowncasts[seed % (seed % 4 == 3 ? 4 : 6)]);
    options.scale.domain = seed % 3 == 0 ? ScaleDomain::log : ScaleDomain::linear;
    const auto weight =
        testing::draw_weight(options, {static_cast<std::int64_t>(1 + seed % 70), width, 3.0, seed});
    expect_same(*weight, concat(testing::describe(options), ", seed ", seed, ", width ", width));
  }
}

// Also through the layer, more rows than one tile has: the outputs of the trained and the converted layer.
TEST(Convert, LayersGiveTheSameOutput) {
  for (const char* granularity : {"channel", "group:64"}) {
    const auto weight = testing::draw_weight(testing::options_of(4, granularity, Downcast::fixed_point8),
                                             {600, 1024, 1.0, 2});
    const at::Tensor x = at::randn({5, 1024});
    for (const ops::ComputeType compute : {ops::ComputeType::float32, ops::ComputeType::bfloat16}) {
      const nn::Linear before("layer", weight, {}, compute);
      const nn::Linear after("layer", std::make_shared<IntegerWeight>("layer", weight->convert()), {},
                             compute);
      EXPECT_TRUE(at::equal(before.multiply(x), after.multiply(x))) << granularity;
    }
  }
}

// How many threads share a tile changes no bit.
TEST(Convert, ThreadsChangeNothing) {
  const auto weight =
      testing::draw_weight(testing::options_of(3, "group:8", Downcast::bfloat16), {203, 96, 2.0, 4});
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const QuantizedWeight one = weight->convert();
  const at::Tensor values = weight->make_tile(0, 203, ops::ComputeType::float32).values;
  at::set_num_threads(3);
  EXPECT_TRUE(at::equal(weight->convert().weight_int, one.weight_int));
  EXPECT_TRUE(at::equal(weight->make_tile(0, 203, ops::ComputeType::float32).values, values));
  at::set_num_threads(threads);
}

// Negative control: one code or one scale that is off by its smallest step is noticed.
TEST(Convert, ADifferentCodeIsNoticed) {
  const auto weight = testing::draw_weight(testing::options_of(4, "channel", Downcast::fixed_point8), {});
  QuantizedWeight other = weight->convert();
  const at::Tensor values = weight->make_tile(0, 24, ops::ComputeType::float32).values;
  other.weight_int[3][5] = other.weight_int[3][5].item<int>() == 0 ? 1 : 0;
  EXPECT_FALSE(at::equal(values, spread_scale(other) * other.weight_int));
  other = weight->convert();
  other.scale[2] *= 1.001;
  EXPECT_FALSE(at::equal(values, spread_scale(other) * other.weight_int));
}

// Φ0 made in tiles is Φ0 made at once, for a weight of several tiles.
TEST(Prepare, TilesChangeNothing) {
  at::manual_seed(8);
  const at::Tensor weight = at::randn({700, 256});
  for (const Downcast downcast : testing::kDowncasts) {
    for (const char* granularity : {"tensor", "channel", "group:32"}) {
      const auto options = testing::options_of(4, granularity, downcast);
      const auto prepared = methods::LrQatWeight::prepare("layer", weight, options, {}, 1);
      const at::Tensor u = divide_by_scale(weight, prepared->scale().effective());
      EXPECT_TRUE(at::equal(prepared->buffers()[0].second, Phi0::store(u, downcast, options.grid).tensor()))
          << testing::describe(options);
    }
  }
}

// At the start the share of the float weights beyond the grid is told, which a Φ0 that lies inside of it does
// not show: that of rounding to nearest, with every φ. Once A moves, that of the codes.
TEST(Prepare, TellsWhatTheGridClipsAtTheStart) {
  at::manual_seed(9);
  const at::Tensor weight = at::randn({40, 640});
  const auto mse = RangeEstimator::parse("mse");
  const Grid grid = Grid::signed_symmetric(3);
  const double clipped = round_to_nearest("layer", weight, {.grid = grid}, mse).clipped_fraction;
  EXPECT_GT(clipped, 0.001);
  for (const Downcast downcast : testing::kDowncasts) {
    const methods::LrQatOptions options = testing::options_of(3, "channel", downcast);
    for (const bool faithful : {false, true}) {
      const auto prepared = faithful
                                ? methods::start_lr_qat("layer", weight, options, {true, true, 0}, mse, 1)
                                : methods::LrQatWeight::prepare("layer", weight, options, mse, 1);
      EXPECT_EQ(prepared->convert().clipped_fraction, clipped) << testing::describe(options);
      EXPECT_EQ(prepared->buffers().back().first, "clipped_at_start");
      EXPECT_NEAR(prepared->buffers().back().second.item<double>(), clipped, 1e-6);
      const at::NoGradGuard no_grad;
      at::Tensor a = prepared->parameters()[0].value;
      a.fill_(100.0);  // nearly all codes are driven over an end
      EXPECT_GT(prepared->convert().clipped_fraction, 0.5);
    }
    EXPECT_EQ(methods::LrQatWeight::prepare("layer", weight, options, {}, 1)->convert().clipped_fraction, 0.0)
        << "a min-max range has every weight on the grid";
  }
  const auto peqa = methods::PeqaWeight::prepare("layer", weight, {grid, {}, {}}, mse);
  EXPECT_EQ(peqa->convert().clipped_fraction, clipped);
}

TEST(Prepare, SameSeedSameWeight) {
  const at::Tensor weight = at::ones({4, 16});
  const auto b = [&](std::uint64_t seed) {
    return methods::LrQatWeight::prepare("l", weight, testing::options_of(4, "channel", Downcast::integer),
                                         {}, seed)
        ->parameters()[1]
        .value.detach();
  };
  EXPECT_TRUE(at::equal(b(1), b(1)));
  EXPECT_FALSE(at::equal(b(1), b(2)));
  EXPECT_LE(b(3).abs().max().item<double>(), 0.25);  // 1 / sqrt(16)
}

TEST(Prepare, RefusesWhatItCannotQuantize) {
  const auto options = testing::options_of(4, "channel", Downcast::fixed_point8);
  at::Tensor weight = at::ones({4, 16});
  for (const float bad : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
    weight[2][3] = bad;
    try {
      methods::LrQatWeight::prepare("model.layers.3.mlp.up_proj", weight, options, {}, 1);
      FAIL() << bad;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("model.layers.3.mlp.up_proj"), std::string::npos);
    }
  }
}

}  // namespace
}  // namespace lrqat::quant
