// Block types as homes of integers: what each takes comes back as the same codes and scales, and ggml's own
// formula (dequantize_row) makes exactly scale·code of it, for every float16 scale.
#include "lrqat/formats/ggml_codes.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "lrqat/base/error.h"
#include "lrqat/base/half.h"
#include "lrqat/base/random.h"
#include "lrqat/formats/ggml_blocks.h"

namespace lrqat::formats {
namespace {

struct Grid {
  int low;
  int high;
};

// Signed grids, and grids with a zero point.
const std::vector<Grid> kGrids{{-2, 1}, {-4, 3}, {-8, 7},  {-128, 127}, {-1, 2},   {0, 3},
                               {-3, 0}, {-6, 9}, {-15, 0}, {0, 15},     {-16, 15}, {-32, 31}};

std::vector<std::int8_t> random_codes(const Grid& grid, std::size_t count, Random& random) {
  std::vector<std::int8_t> codes(count);
  for (auto& code : codes) {
    code = static_cast<std::int8_t>(
        grid.low + static_cast<int>(random.below(static_cast<std::uint64_t>(grid.high - grid.low + 1))));
  }
  return codes;
}

// Encodes a row, and expects it back by both ways.
void expect_round_trip(const CodeBlockType& type, const Grid& grid, const std::vector<std::int8_t>& codes,
                       const std::vector<std::uint16_t>& scales) {
  const auto& info = ggml_type_info(type.type);
  const std::size_t blocks = codes.size() / static_cast<std::size_t>(info.block_elements);
  const std::vector<int> lows(scales.size(), grid.low);
  std::vector<std::byte> bytes(blocks * info.block_bytes);
  encode_codes(type, codes, scales, lows, bytes.data());
  std::vector<std::int8_t> back(codes.size());
  std::vector<std::uint16_t> words(blocks);
  ASSERT_TRUE(decode_codes(type, bytes.data(), lows, back, words)) << info.name;
  EXPECT_EQ(back, codes) << info.name;
  std::vector<float> values(codes.size());
  dequantize_row(type.type, bytes.data(), values.data(), static_cast<std::int64_t>(values.size()));
  for (std::size_t i = 0; i < codes.size(); ++i) {
    const std::uint16_t scale = scales[i / (codes.size() / scales.size())];
    ASSERT_EQ(words[i / static_cast<std::size_t>(info.block_elements)], scale);
    ASSERT_EQ(values[i], float16_to_float(scale) * static_cast<float>(codes[i]))
        << info.name << " element " << i;
  }
}

TEST(GgmlCodes, EveryTypeGivesBackWhatItHolds) {
  Random random(3);
  int cells = 0;
  for (const CodeBlockType& type : code_block_types()) {
    for (const Grid& grid : kGrids) {
      if (!type.holds(grid.low, grid.high)) continue;
      std::vector<std::uint16_t> scales;
      while (scales.size() < 3) {
        const std::uint16_t scale = float_to_float16(static_cast<float>(0.001 + random.uniform()));
        if (type.holds_scale == nullptr || type.holds_scale(scale, grid.low)) scales.push_back(scale);
      }
      SCOPED_TRACE(concat(grid.low, " to ", grid.high));
      expect_round_trip(type, grid, random_codes(grid, 3 * 512, random), scales);
      ++cells;
    }
  }
  EXPECT_EQ(cells, 68);
}

// Every finite positive float16, subnormal ones too, with every code of the grid.
TEST(GgmlCodes, EveryScaleIsExact) {
  for (const CodeBlockType& type : code_block_types()) {
    const Grid grid = type.holds(-8, 7) ? Grid{-8, 7} : type.holds(-4, 3) ? Grid{-4, 3} : Grid{-2, 1};
    std::vector<std::int8_t> codes(256);
    for (std::size_t i = 0; i < codes.size(); ++i) {
      codes[i] = static_cast<std::int8_t>(grid.low + static_cast<int>(i) % (grid.high - grid.low + 1));
    }
    for (std::uint16_t scale = 1; scale < 0x7c00; scale = static_cast<std::uint16_t>(scale + 7)) {
      if (type.holds_scale != nullptr && !type.holds_scale(scale, grid.low)) continue;
      expect_round_trip(type, grid, codes, {scale});
      if (::testing::Test::HasFailure()) return;
    }
  }
}

TEST(GgmlCodes, DecodingNoticesBlocksOfAnotherForm) {
  Random random(4);
  for (const CodeBlockType& type : code_block_types()) {
    const Grid grid{-2, 1};
    const auto& info = ggml_type_info(type.type);
    const auto codes = random_codes(grid, static_cast<std::size_t>(info.block_elements), random);
    std::vector<std::byte> bytes(info.block_bytes);
    const std::vector<int> low{grid.low};
    const std::vector<std::uint16_t> scale{float_to_float16(0.125F)};
    encode_codes(type, codes, scale, low, bytes.data());
    // Each bit flipped: either another block of this form (codes or scale differ), or none.
    for (std::size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
      auto changed = bytes;
      changed[bit / 8] ^= std::byte{1} << bit % 8;
      std::vector<std::int8_t> back(codes.size());
      std::vector<std::uint16_t> words(1);
      const bool same =
          decode_codes(type, changed.data(), low, back, words) && back == codes && words == scale;
      EXPECT_FALSE(same) << info.name << " bit " << bit;
    }
  }
}

TEST(GgmlCodes, RefusesCodesThatDoNotFit) {
  for (const CodeBlockType& type : code_block_types()) {
    if (type.holds(-128, 127)) continue;
    std::vector<std::int8_t> codes(256, 0);
    codes[77] = 100;
    std::vector<std::byte> bytes(8 * 256);
    EXPECT_THROW(encode_codes(type, codes, std::vector<std::uint16_t>{1}, std::vector<int>{0}, bytes.data()),
                 InternalError);
  }
}

TEST(GgmlCodes, TypesStandInTheOrderOfTheirSize) {
  double before = 0;
  for (const CodeBlockType& type : code_block_types()) {
    EXPECT_GE(bits_per_weight(type.type), before);
    before = bits_per_weight(type.type);
    EXPECT_TRUE(ggml_type_info(type.type).can_dequantize);
  }
}

}  // namespace
}  // namespace lrqat::formats
