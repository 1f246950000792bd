// Φ0: each downcast's definition, storage, and reading it back.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "lrqat/base/error.h"
#include "lrqat/quant/downcast.h"
#include "tests/quant/drawn_weight.h"
#include "tests/quant/expect_error.h"

namespace lrqat::quant {
namespace {

using testing::expect_error;
using testing::kDowncasts;

// The value that a downcast gives u, from its definition in method.md section 2.
double defined_value(double u, Downcast downcast, const Grid& grid) {
  const auto clip = [&](double v) {
    return std::min<double>(std::max<double>(v, grid.quant_min), grid.quant_max);
  };
  const double unit = std::exp2(grid.num_bits - 8);
  switch (downcast) {
    case Downcast::float32:
      return u;
    case Downcast::bfloat16:
      return at::tensor(static_cast<float>(u)).to(at::kBFloat16).item<float>();
    case Downcast::float16:
      return at::tensor(static_cast<float>(u)).to(at::kHalf).item<float>();
    case Downcast::fixed_point8:
      return std::nearbyint(clip(u) / unit) * unit;
    case Downcast::int4:
    case Downcast::integer:
      return clip(std::nearbyint(u));
  }
  return 0.0;
}

at::Tensor drawn_u(std::int64_t rows, std::int64_t cols, const Grid& grid) {
  at::manual_seed(static_cast<std::uint64_t>(cols));
  at::Tensor u = at::randn({rows, cols}) * (0.6 * grid.quant_max);
  u.slice(1, 0, (cols + 1) / 2).mul_(2.0).round_().mul_(0.5);  // half of them halves: ties
  return u;
}

// Odd widths too: a packed row ends in half a byte then.
TEST(Phi0, DecodesToItsDefinition) {
  for (const Downcast downcast : kDowncasts) {
    for (const int bits : {2, 3, 4, 8}) {
      if (downcast == Downcast::int4 && bits > 4) continue;
      const Grid grid = Grid::signed_symmetric(bits);
      for (const std::int64_t cols : {1, 2, 3, 7, 64, 65}) {
        const at::Tensor u = drawn_u(5, cols, grid);
        const Phi0 phi = Phi0::store(u, downcast, grid);
        const at::Tensor values = phi.decode(0, 5);
        for (std::int64_t n = 0; n < 5; ++n) {
          for (std::int64_t k = 0; k < cols; ++k) {
            ASSERT_EQ(values[n][k].item<float>(), defined_value(u[n][k].item<float>(), downcast, grid))
                << downcast_name(downcast) << " " << bits << " bits, u = " << u[n][k].item<float>();
          }
        }
        EXPECT_TRUE(at::equal(phi.decode(2, 4), values.slice(0, 2, 4)));
      }
    }
  }
}

TEST(Phi0, StorageIsAsSmallAsPromised) {
  const at::Tensor u = at::zeros({4, 33});
  const auto bytes = [&](Downcast downcast, int bits) {
    return Phi0::store(u, downcast, Grid::signed_symmetric(bits)).tensor().nbytes() / 4;
  };
  EXPECT_EQ(bytes(Downcast::float32, 4), 4U * 33);
  EXPECT_EQ(bytes(Downcast::bfloat16, 4), 2U * 33);
  EXPECT_EQ(bytes(Downcast::float16, 4), 2U * 33);
  EXPECT_EQ(bytes(Downcast::fixed_point8, 4), 33U);
  EXPECT_EQ(bytes(Downcast::int4, 4), 17U);
  EXPECT_EQ(bytes(Downcast::integer, 2), 17U);
  EXPECT_EQ(bytes(Downcast::integer, 8), 33U);
}

// What a checkpoint does: the stored tensor and nothing else.
TEST(Phi0, ComesBackFromItsTensor) {
  for (const Downcast downcast : kDowncasts) {
    for (const std::int64_t cols : {8, 9}) {
      const Grid grid = Grid::signed_symmetric(3);
      const Phi0 phi = Phi0::store(drawn_u(6, cols, grid), downcast, grid);
      const Phi0 back(phi.tensor().clone(), cols, downcast, grid, "run.safetensors: layer.phi_0");
      EXPECT_EQ(back.in_features(), cols);
      EXPECT_EQ(back.out_features(), 6);
      EXPECT_TRUE(at::equal(back.decode(0, 6), phi.decode(0, 6))) << downcast_name(downcast);
    }
  }
}

TEST(Phi0, RowsMayBeStoredInPieces) {
  for (const Downcast downcast : kDowncasts) {
    const Grid grid = Grid::signed_symmetric(4);
    const at::Tensor u = drawn_u(9, 21, grid);
    Phi0 pieces = Phi0::allocate(9, 21, downcast, grid, at::kCPU);
    for (const auto& [begin, end] : {std::pair{0, 4}, {4, 5}, {5, 9}})
      pieces.store_rows(begin, u.slice(0, begin, end));
    EXPECT_TRUE(at::equal(pieces.tensor(), Phi0::store(u, downcast, grid).tensor()))
        << downcast_name(downcast);
  }
}

TEST(Phi0, RefusesTensorsOfAnotherKind) {
  const Grid grid = Grid::signed_symmetric(4);
  const auto make = [&](const at::Tensor& stored, Downcast downcast) {
    return [=] { Phi0(stored, 10, downcast, grid, "run.safetensors: layer.phi_0"); };
  };
  const std::string where = "run.safetensors: layer.phi_0";
  expect_error<Error>(make(at::zeros({4, 10}, at::kFloat), Downcast::fixed_point8),
                      {where, "fixed_point8", "10"});
  expect_error<Error>(make(at::zeros({4, 9}, at::kChar), Downcast::fixed_point8), {where, "[4, 9]"});
  expect_error<Error>(make(at::zeros({4, 10}, at::kByte), Downcast::int4), {where, "int4", "5"});
  expect_error<Error>(make(at::zeros({4, 10}, at::kHalf), Downcast::bfloat16), {where, "bfloat16"});
  expect_error<Error>(make(at::zeros({40}, at::kChar), Downcast::fixed_point8), {where});
  EXPECT_NO_THROW(make(at::zeros({4, 5}, at::kByte), Downcast::int4)());
}

TEST(Phi0, Int4HoldsAtMostFourBits) {
  expect_error<UsageError>(
      [] {
        Phi0::store(at::zeros({2, 2}), Downcast::int4, Grid::signed_symmetric(8));
      },
      {"int4", "8"});
}

TEST(Downcast, NamesRoundTrip) {
  for (const Downcast downcast : kDowncasts) EXPECT_EQ(parse_downcast(downcast_name(downcast)), downcast);
  expect_error<UsageError>([] { parse_downcast("fp8"); }, {"`phi`", "fixed_point8", "integer"});
}

}  // namespace
}  // namespace lrqat::quant
