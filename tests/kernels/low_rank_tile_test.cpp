#include "lrqat/kernels/low_rank_tile.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

#include "lrqat/base/half.h"
#include "lrqat/base/random.h"
#include "lrqat/kernels/copy_pairs.h"
#include "lrqat/kernels/pack_int4.h"
#include "lrqat/kernels/range_search.h"
#include "lrqat/kernels/target.h"

namespace lrqat::kernels {
namespace {

// A random tile with its storage.
struct Case {
  std::vector<std::uint8_t> phi;
  std::vector<float> a, b, scale;
  LowRankTile tile;
  ScaleView scale_view;
};

std::int64_t phi_bytes(PhiType type, std::int64_t cols) {
  switch (type) {
    case PhiType::float32:
      return 4 * cols;
    case PhiType::bfloat16:
    case PhiType::float16:
      return 2 * cols;
    case PhiType::int8:
      return cols;
    case PhiType::int4:
      return packed_int4_bytes(cols);
  }
  return 0;
}

Case make_case(PhiType type, std::int64_t rows, std::int64_t cols, std::int64_t rank, std::int64_t group,
               int num_bits, std::uint64_t seed) {
  Random random(seed);
  Case c;
  const double half = 1 << (num_bits - 1);
  const auto draw = [&](double size) { return static_cast<float>((2.0 * random.uniform() - 1.0) * size); };
  c.phi.resize(static_cast<std::size_t>(rows * phi_bytes(type, cols)));
  for (std::int64_t n = 0; n < rows; ++n) {
    auto* row = c.phi.data() + n * phi_bytes(type, cols);
    for (std::int64_t k = 0; k < cols; ++k) {
      const float value = draw(1.2 * half);
      const std::uint16_t bfloat16 = float_to_bfloat16(value);
      const std::uint16_t float16 = random.below(50) == 0
                                        ? static_cast<std::uint16_t>(random.below(1024))  // subnormal
                                        : float_to_float16(value);
      if (type == PhiType::float32) std::memcpy(row + 4 * k, &value, 4);
      if (type == PhiType::bfloat16) std::memcpy(row + 2 * k, &bfloat16, 2);
      if (type == PhiType::float16) std::memcpy(row + 2 * k, &float16, 2);
    }
    if (type == PhiType::int8 || type == PhiType::int4) {
      for (std::int64_t i = 0; i < phi_bytes(type, cols); ++i)
        row[i] = static_cast<std::uint8_t>(random.below(256));
    }
  }
  for (std::int64_t i = 0; i < rows * rank; ++i) c.a.push_back(draw(0.5));
  for (std::int64_t i = 0; i < rank * cols; ++i) c.b.push_back(draw(1.0));
  for (std::int64_t i = 0; i < rows * (cols / group); ++i) c.scale.push_back(0.01F + std::fabs(draw(0.1)));
  c.tile.phi = {type, c.phi.data(), phi_bytes(type, cols),
                type == PhiType::int8 ? 1.0F / static_cast<float>(1 << (8 - num_bits)) : 1.0F};
  c.tile.rows = rows;
  c.tile.cols = cols;
  c.tile.lora_a = c.a.data();
  c.tile.lora_b = c.b.data();
  c.tile.rank = rank;
  c.tile.lora_scaling = 0.75F;
  c.tile.quant_min = static_cast<float>(-half);
  c.tile.quant_max = static_cast<float>(half - 1);
  c.scale_view = {c.scale.data(), cols / group, group};
  return c;
}

struct Written {
  std::vector<std::int8_t> codes;
  std::vector<std::uint8_t> mask;
  std::vector<std::int32_t> clipped;
  std::vector<float> values;
  std::vector<std::uint16_t> bfloat16;
  bool operator==(const Written&) const = default;

  Written(std::int64_t rows, std::int64_t cols)
      : codes(rows * cols), mask(rows * cols), clipped(rows), values(rows * cols), bfloat16(rows * cols) {}
  TileOutput output(std::int64_t cols) {
    return {codes.data(), mask.data(), clipped.data(), values.data(), cols, bfloat16.data()};
  }
};

constexpr std::array kTypes{PhiType::float32, PhiType::bfloat16, PhiType::float16, PhiType::int8,
                            PhiType::int4};

// The fast kernel gives the reference's bits, for every storage, odd sizes, ranks (0 too), group sizes and
// variants.
TEST(LowRankTile, EqualsTheReference) {
  std::uint64_t seed = 1;
  std::int64_t clipped_total = 0;
  for (const PhiType type : kTypes) {
    for (const auto& [rows, cols, group] : {std::array<std::int64_t, 3>{1, 1, 1},
                                            {4, 64, 64},
                                            {5, 70, 70},
                                            {13, 192, 16},
                                            {8, 129, 129},
                                            {3, 256, 8},
                                            {16, 320, 80}}) {
      for (const std::int64_t rank : {0, 1, 4, 33}) {
        for (const int variant : {0, 1, 2}) {
          Case c = make_case(type, rows, cols, rank, group, type == PhiType::int8 ? 4 : 3, seed++);
          if (variant == 1) {  // the integer variant is defined for integer Φ0 only
            if (type != PhiType::int8 && type != PhiType::int4) continue;
            c.tile.round_low_rank = true;
            c.tile.phi.unit = 1.0F;
          }
          c.tile.bfloat16_product = variant == 2;
          Written fast(rows, cols), reference(rows, cols);
          low_rank_tile(c.tile, c.scale_view, fast.output(cols));
          low_rank_tile_ref(c.tile, c.scale_view, reference.output(cols));
          EXPECT_EQ(fast, reference) << "type " << static_cast<int>(type) << " " << rows << "x" << cols
                                     << " rank " << rank;
          for (const int n : reference.clipped) clipped_total += n;
        }
      }
    }
  }
  EXPECT_GT(clipped_total, 1000);  // clipping was exercised
}

// Operand forms, beside codes: what every target writes for a range of columns is what the reference writes.
struct Operands {
  std::vector<float> values, transposed;
  std::vector<std::uint32_t> transposed_pairs, row_pairs;
  std::vector<ClippedEntry> clipped;
  bool operator==(const Operands&) const = default;

  Operands(std::int64_t rows, std::int64_t cols)
      : values(rows * cols),
        transposed(rows * cols),
        transposed_pairs(rows * (cols / 2)),
        row_pairs(rows / 2 * cols) {}
  TileOutput output(std::int64_t rows, std::int64_t cols, bool scaled_pairs) {
    TileOutput out;
    out.values = values.data();
    out.values_stride = cols;
    out.transposed = transposed.data();
    out.transposed_pairs = transposed_pairs.data();
    out.transposed_stride = rows;
    out.row_pairs = row_pairs.data();
    out.row_pairs_stride = cols;
    out.scaled_pairs = scaled_pairs;
    out.clipped_entries = &clipped;
    out.first_row = 100;
    out.first_col = 1000;
    return out;
  }
  void sort() {
    std::sort(clipped.begin(), clipped.end(),
              [](auto& a, auto& b) { return a.row != b.row ? a.row < b.row : a.col < b.col; });
  }
};

class OnEveryTarget : public ::testing::TestWithParam<KernelTarget> {
 protected:
  void SetUp() override {
    if (GetParam() > best_kernel_target()) GTEST_SKIP() << "this processor does not have the target";
    set_kernel_target(GetParam());
  }
  void TearDown() override { set_kernel_target(best_kernel_target()); }
};

TEST_P(OnEveryTarget, OperandsEqualTheReference) {
  std::uint64_t seed = 70;
  std::size_t clipped = 0;
  for (const PhiType type : kTypes) {
    for (const auto& [rows, all_cols, group, first, cols] : {std::array<std::int64_t, 5>{2, 2, 2, 0, 2},
                                                             {34, 160, 16, 16, 130},
                                                             {128, 256, 256, 64, 128},
                                                             {20, 640, 128, 128, 256}}) {
      for (const int variant : {0, 1, 2}) {
        Case c = make_case(type, rows, all_cols, 5, group, type == PhiType::int8 ? 4 : 3, seed++);
        c.tile.cols = cols;
        c.tile.col_begin = first;
        c.tile.lora_b_stride = all_cols;
        c.tile.is_float = variant == 2;
        std::vector<std::int8_t> zero_points(c.scale.size());
        for (std::size_t i = 0; i < zero_points.size(); ++i)
          zero_points[i] = static_cast<std::int8_t>(i % 15 - 7);
        if (variant == 1) c.scale_view.zero_point = zero_points.data();
        Operands fast(rows, cols), reference(rows, cols);
        low_rank_tile(c.tile, c.scale_view, fast.output(rows, cols, variant == 1));
        low_rank_tile_ref(c.tile, c.scale_view, reference.output(rows, cols, variant == 1));
        fast.sort();
        reference.sort();
        EXPECT_EQ(fast, reference) << "type " << static_cast<int>(type) << " " << rows << "x" << cols
                                   << " variant " << variant;
        clipped += reference.clipped.size();
      }
    }
  }
  EXPECT_GT(clipped, 1000U);
}

// Pairs of a bfloat16 weight are copied as they lie there.
TEST(LowRankTile, PairsOfAStoredWeightEqualTheReference) {
  std::uint64_t seed = 170;
  for (const auto& [rows, all_cols, first, cols] : {std::array<std::int64_t, 4>{2, 2, 0, 2},
                                                    {34, 160, 16, 130},
                                                    {128, 256, 64, 128},
                                                    {18, 640, 128, 256}}) {
    Case c = make_case(PhiType::bfloat16, rows, all_cols, 0, all_cols, 4, seed++);
    c.tile.cols = cols;
    c.tile.col_begin = first;
    c.tile.is_float = true;
    Operands fast(rows, cols), reference(rows, cols);
    const auto only_pairs = [&](Operands& operands, bool transposed) {
      TileOutput out = operands.output(rows, cols, false);
      out.values = out.transposed = nullptr;
      out.clipped_entries = nullptr;
      (transposed ? out.row_pairs : out.transposed_pairs) = nullptr;
      return out;
    };
    for (const bool transposed : {false, true}) {
      ASSERT_TRUE(only_copies_pairs(c.tile, only_pairs(fast, transposed)));
      low_rank_tile(c.tile, c.scale_view, only_pairs(fast, transposed));
      low_rank_tile_ref(c.tile, c.scale_view, only_pairs(reference, transposed));
    }
    EXPECT_EQ(fast, reference) << rows << "x" << cols;
    EXPECT_NE(fast.row_pairs.front(), 0U);
  }
}

TEST_P(OnEveryTarget, CodesEqualTheReference) {
  Case c = make_case(PhiType::int8, 37, 200, 33, 200, 4, 98);
  Written fast(37, 200), reference(37, 200);
  low_rank_tile(c.tile, c.scale_view, fast.output(200));
  low_rank_tile_ref(c.tile, c.scale_view, reference.output(200));
  EXPECT_EQ(fast, reference);
}

INSTANTIATE_TEST_SUITE_P(Targets, OnEveryTarget,
                         ::testing::Values(KernelTarget::baseline, KernelTarget::v3, KernelTarget::v4));

// A tile may be cut anywhere without changing a bit: rows and outputs are independent.
TEST(LowRankTile, SplittingChangesNothing) {
  Case c = make_case(PhiType::int8, 37, 200, 7, 200, 4, 99);
  Written whole(37, 200), parts(37, 200);
  low_rank_tile(c.tile, c.scale_view, whole.output(200));
  for (const auto& [begin, end] : {std::array<std::int64_t, 2>{0, 1}, {1, 6}, {6, 37}}) {
    LowRankTile part = c.tile;
    part.rows = end - begin;
    part.phi.data = c.phi.data() + begin * c.tile.phi.row_bytes;
    part.lora_a = c.a.data() + begin * 7;
    const ScaleView scale{c.scale.data() + begin, 1, 200};
    TileOutput output = parts.output(200);
    output.codes += begin * 200;
    output.mask += begin * 200;
    output.clipped += begin;
    output.values += begin * 200;
    output.bfloat16_codes += begin * 200;
    low_rank_tile(part, scale, output);
  }
  EXPECT_EQ(whole, parts);
}

// Half to even, and the mask on the rounded value: 7.5 rounds to 8 and is clipped, -8.5 rounds to -8 and is
// kept.
TEST(LowRankTile, TiesAndMask) {
  const std::vector<float> z{7.25F, 7.5F, -8.5F, -8.75F, 0.5F, 1.5F, -0.5F, 2.5F};
  LowRankTile tile;
  tile.phi = {PhiType::float32, z.data(), 32, 1.0F};
  tile.rows = 1;
  tile.cols = 8;
  Written out(1, 8);
  const float one = 1.0F;
  low_rank_tile(tile, {&one, 0, 8}, out.output(8));
  EXPECT_EQ(out.codes, (std::vector<std::int8_t>{7, 7, -8, -8, 0, 2, 0, 2}));
  EXPECT_EQ(out.mask, (std::vector<std::uint8_t>{1, 0, 1, 0, 1, 1, 1, 1}));
  EXPECT_EQ(out.clipped[0], 2);
}

// float32 sums over at most 320 terms in another order: 320 · 2^-24 of the sum of magnitudes is a bound.
TEST(LowRankTileGradient, EqualsTheReference) {
  for (const auto& [rows, cols, group] :
       {std::array<std::int64_t, 3>{5, 70, 70}, {13, 192, 16}, {3, 320, 320}, {2, 24, 8}}) {
    Case c = make_case(PhiType::int8, rows, cols, 4, group, 4, 7);
    Written tile(rows, cols);
    low_rank_tile(c.tile, c.scale_view, tile.output(cols));
    std::vector<float> grad(rows * cols);
    Random random(3);
    for (float& g : grad) g = static_cast<float>(random.uniform() - 0.5);
    std::vector<float> fast = grad, reference = grad;
    std::vector<float> fast_scale(rows * (cols / group), -1.0F),
        reference_scale(rows * (cols / group), -1.0F);
    low_rank_tile_gradient(rows, cols, tile.codes.data(), tile.mask.data(), c.scale_view, fast.data(),
                           fast_scale.data());
    low_rank_tile_gradient_ref(rows, cols, tile.codes.data(), tile.mask.data(), c.scale_view,
                               reference.data(), reference_scale.data());
    EXPECT_EQ(fast, reference);
    for (std::size_t i = 0; i < fast_scale.size(); ++i) {
      EXPECT_NEAR(fast_scale[i], reference_scale[i], 320 * 0x1p-24 * 4.0 * static_cast<double>(group));
    }
  }
}

TEST(PackInt4, RoundTripOfEveryCode) {
  std::vector<std::int8_t> codes;
  for (int i = 0; i < 3 * 21; ++i) codes.push_back(static_cast<std::int8_t>(i % 16 - 8));
  std::vector<std::uint8_t> packed(3 * packed_int4_bytes(21));
  pack_int4(codes.data(), 3, 21, packed.data());
  EXPECT_EQ(packed[0], 0x10);  // codes -8, -7 -> nibbles 0, 1, low first
  std::vector<std::int8_t> back(codes.size());
  unpack_int4(packed.data(), 3, 21, back.data());
  EXPECT_EQ(back, codes);
}

// The reference sums in double with pow; the fast form in float lanes of 64 values: 1e-5 relative.
TEST(RoundingError, EqualsTheReference) {
  Random random(5);
  std::vector<float> weight(1333);
  for (float& w : weight) w = static_cast<float>(random.uniform() * 2.0 - 1.0);
  for (const double p : {2.0, 2.4, 3.0, 3.5, 4.0, 5.0}) {
    for (const float scale : {0.01F, 0.1F, 0.143F}) {
      const double reference = rounding_error_ref(weight.data(), 1333, scale, -8, 7, p);
      EXPECT_NEAR(rounding_error(weight.data(), 1333, scale, -8, 7, p), reference, 1e-5 * reference);
    }
  }
}

}  // namespace
}  // namespace lrqat::kernels
