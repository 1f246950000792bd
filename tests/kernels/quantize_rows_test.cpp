#include "lrqat/kernels/quantize_rows.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "lrqat/base/random.h"

namespace lrqat::kernels {
namespace {

struct Result {
  std::vector<float> values;
  std::vector<std::uint8_t> inside;
};

using Kernel = decltype(&quantize_rows);

Result run(Kernel kernel, const std::vector<float>& x, std::int64_t cols, float largest) {
  Result out{std::vector<float>(x.size(), -1.0F), std::vector<std::uint8_t>(x.size(), 7)};
  kernel(x.data(), 0, static_cast<std::int64_t>(x.size()) / cols, cols, largest, out.values.data(),
         out.inside.data());
  return out;
}

TEST(QuantizeRows, GivesTheReferencesBits) {
  Random random(3);
  for (const std::int64_t cols : {1, 15, 16, 17, 64, 200}) {
    for (const float largest : {15.0F, 255.0F}) {
      std::vector<float> x(static_cast<std::size_t>(5 * cols));
      for (float& value : x) value = static_cast<float>(8.0 * random.uniform() - 3.0);
      const Result fast = run(quantize_rows, x, cols, largest),
                   plain = run(quantize_rows_ref, x, cols, largest);
      EXPECT_EQ(fast.values, plain.values) << cols << " columns, " << largest;
      EXPECT_EQ(fast.inside, plain.inside) << cols << " columns, " << largest;
      std::vector<float> without(x.size());
      quantize_rows(x.data(), 0, 5, cols, largest, without.data(), nullptr);
      EXPECT_EQ(without, plain.values);
    }
  }
}

// Negative control: another number of bits gives other values.
TEST(QuantizeRows, NoticesTheBits) {
  const std::vector<float> x{0.0F, 0.3F, 1.0F};
  EXPECT_NE(run(quantize_rows, x, 3, 15.0F).values, run(quantize_rows_ref, x, 3, 255.0F).values);
}

TEST(QuantizeRows, ConstantRowsStayAndAreNotClipped) {
  const std::vector<float> x(20, 0.0F);
  const Result result = run(quantize_rows, x, 20, 15.0F);
  EXPECT_EQ(result.values, x);
  EXPECT_EQ(result.inside, std::vector<std::uint8_t>(20, 1));
}

// A run must stop at a value that is not finite, so it must not be rounded away.
TEST(QuantizeRows, WhatIsNoNumberComesThrough) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    for (const std::size_t at : {0U, 5U, 19U}) {
      std::vector<float> x(20, 0.5F);
      x[1] = -0.5F;
      x[at] = bad;
      EXPECT_FALSE(std::isfinite(run(quantize_rows, x, 20, 255.0F).values[at])) << bad << " at " << at;
    }
  }
}

}  // namespace
}  // namespace lrqat::kernels
