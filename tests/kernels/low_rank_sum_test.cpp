#include "lrqat/kernels/low_rank_sum.h"

#include <gtest/gtest.h>

#include <vector>

#include "lrqat/base/random.h"

namespace lrqat::kernels {
namespace {

std::vector<float> drawn(std::int64_t count, Random& random) {
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& value : values) value = static_cast<float>(2.0 * random.uniform() - 1.0);
  return values;
}

TEST(LowRankSum, GivesTheReferencesBits) {
  Random random(1);
  for (const std::int64_t cols : {1, 63, 64, 65, 200}) {
    for (const std::int64_t rank : {0, 1, 4, 33}) {
      const std::int64_t rows = 7;
      const auto a = drawn(rows * rank, random), b = drawn(rank * cols, random);
      auto fast = drawn(rows * cols, random);
      auto plain = fast;
      const LowRankSum sum{rows, cols, a.data(), b.data(), rank, 0.37F};
      low_rank_sum(sum, fast.data());
      low_rank_sum_ref(sum, plain.data());
      EXPECT_EQ(fast, plain) << cols << " columns, rank " << rank;
    }
  }
}

// Negative control: another scaling gives other bits.
TEST(LowRankSum, NoticesTheScaling) {
  const float a = 1.0F, b = 2.0F;
  float fast = 0.5F, plain = 0.5F;
  low_rank_sum({1, 1, &a, &b, 1, 0.25F}, &fast);
  low_rank_sum_ref({1, 1, &a, &b, 1, 0.5F}, &plain);
  EXPECT_EQ(fast, 1.0F);
  EXPECT_NE(fast, plain);
}

}  // namespace
}  // namespace lrqat::kernels
