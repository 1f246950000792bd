#include "lrqat/quant/grid.h"

#include <gtest/gtest.h>

#include "lrqat/base/error.h"
#include "tests/quant/drawn_weight.h"
#include "tests/quant/expect_error.h"

namespace lrqat::quant {
namespace {

using testing::expect_error;

TEST(Grid, SignedSymmetricBounds) {
  for (const auto& [bits, low, high] : {std::array{2, -2, 1}, {3, -4, 3}, {4, -8, 7}, {8, -128, 127}}) {
    EXPECT_EQ(Grid::signed_symmetric(bits), (Grid{bits, low, high}));
  }
  for (const int bits : {0, 1, 5, 16, -4}) {
    EXPECT_THROW(Grid::signed_symmetric(bits), UsageError);
  }
}

TEST(Granularity, NamesRoundTrip) {
  for (const char* name : {"tensor", "channel", "group:1", "group:64"}) {
    EXPECT_EQ(Granularity::parse(name).name(), name);
  }
  for (const char* name :
       {"", "row", "group", "group:", "group:0", "group:-8", "group:8x", "group: 8", "Tensor"}) {
    expect_error<UsageError>([&] { Granularity::parse(name); }, {"`granularity`", "group:64"});
  }
}

TEST(Granularity, ScaleShapes) {
  EXPECT_EQ(Granularity::parse("tensor").scale_shape(6, 48), (std::array<std::int64_t, 2>{1, 1}));
  EXPECT_EQ(Granularity::parse("channel").scale_shape(6, 48), (std::array<std::int64_t, 2>{6, 1}));
  EXPECT_EQ(Granularity::parse("group:16").scale_shape(6, 48), (std::array<std::int64_t, 2>{6, 3}));
}

// A size that does not divide in_features: the layer, and sizes that would work (each of them does).
TEST(Granularity, GroupSizesThatDoNotDivideAreRefused) {
  const at::Tensor weight = at::ones({4, 576});
  const auto options = testing::options_of(4, "group:128", Downcast::fixed_point8);
  const auto prepare = [&] {
    methods::LrQatWeight::prepare("model.layers.7.self_attn.q_proj", weight, options, {}, 1);
  };
  expect_error<Error>(prepare, {"model.layers.7.self_attn.q_proj", "128", "576", "8, 16, 32, 64", "192"});
  for (const std::int64_t size : {8, 16, 32, 64, 24, 48, 96, 192, 1, 576, 9}) {
    EXPECT_NO_THROW(Granularity({Granularity::Kind::group, size}).check("layer", 576)) << size;
  }
  for (const std::int64_t size : {5, 7, 128, 577, 1152, 0}) {
    EXPECT_THROW(Granularity({Granularity::Kind::group, size}).check("layer", 576), Error) << size;
  }
  expect_error<Error>([] { Granularity::parse("group:4").check("layer", 13); }, {"channel"});
  EXPECT_NO_THROW(Granularity::parse("channel").check("layer", 13));
}

}  // namespace
}  // namespace lrqat::quant
