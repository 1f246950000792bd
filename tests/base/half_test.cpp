#include "lrqat/base/half.h"

#include <gtest/gtest.h>

#include <cmath>

namespace lrqat {
namespace {

// Every finite half survives the way to float and back; so does every bfloat16.
TEST(Half, RoundTripOfEveryValue) {
  for (std::uint32_t bits = 0; bits < 0x10000U; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    if (!std::isnan(float16_to_float(half))) {
      EXPECT_EQ(float_to_float16(float16_to_float(half)), half);
    }
    if (!std::isnan(bfloat16_to_float(half))) {
      EXPECT_EQ(float_to_bfloat16(bfloat16_to_float(half)), half);
    }
  }
}

// Between neighbours the nearer one is taken, and the even one in the middle (subnormals included).
TEST(Half, RoundsHalfToEven) {
  for (std::uint32_t bits = 0; bits < 0x7bffU; ++bits) {
    const auto low = static_cast<std::uint16_t>(bits);
    const auto high = static_cast<std::uint16_t>(bits + 1);
    const float a = float16_to_float(low);
    const float b = float16_to_float(high);
    const float middle = 0.5F * (a + b);
    EXPECT_EQ(float_to_float16(middle), (bits & 1U) == 0 ? low : high);
    EXPECT_EQ(float_to_float16(std::nextafter(middle, 0.0F)), low);
    EXPECT_EQ(float_to_float16(std::nextafter(middle, 1e9F)), high);
    EXPECT_EQ(float_to_float16(-middle), (bits & 1U) == 0 ? (low | 0x8000U) : (high | 0x8000U));
  }
}

TEST(Half, OverflowAndNan) {
  EXPECT_EQ(float_to_float16(65504.0F), 0x7bff);
  EXPECT_EQ(float_to_float16(65519.9F), 0x7bff);
  EXPECT_EQ(float_to_float16(65520.0F), 0x7c00);
  EXPECT_EQ(float_to_float16(-INFINITY), 0xfc00);
  EXPECT_TRUE(std::isnan(float16_to_float(float_to_float16(NAN))));
  EXPECT_TRUE(std::isnan(bfloat16_to_float(float_to_bfloat16(NAN))));
}

}  // namespace
}  // namespace lrqat
