// The sampler: every epoch a permutation of its own, the position the whole state.
#include "lrqat/train/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>

namespace lrqat::train {
namespace {

std::vector<std::int64_t> counting(std::int64_t size) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(size));
  std::iota(order.begin(), order.end(), std::int64_t{0});
  return order;
}

std::vector<std::int64_t> sorted(std::vector<std::int64_t> values) {
  std::sort(values.begin(), values.end());
  return values;
}

TEST(Sampler, GivesEveryEpochAnotherPermutation) {
  Sampler sampler(100, 7);
  const auto first = sampler.next(100);
  const auto second = sampler.next(100);
  EXPECT_EQ(sorted(first), counting(100));
  EXPECT_EQ(sorted(second), counting(100));
  EXPECT_NE(first, counting(100));
  EXPECT_NE(first, second);
  EXPECT_EQ(sampler.position(), 200);
  EXPECT_EQ(sampler.epochs(), 2.0);
}

TEST(Sampler, DependsOnTheSeedAlone) {
  EXPECT_EQ(Sampler(50, 3).next(120), Sampler(50, 3).next(120));
  EXPECT_NE(Sampler(50, 3).next(50), Sampler(50, 4).next(50));
}

TEST(Sampler, GivesTheSameInAnyPortions) {
  Sampler whole(13, 1);
  Sampler pieces(13, 1);
  const auto expected = whole.next(60);
  std::vector<std::int64_t> seen;
  for (const std::int64_t count : {1, 0, 12, 5, 30, 12}) {
    const auto part = pieces.next(count);
    seen.insert(seen.end(), part.begin(), part.end());
  }
  EXPECT_EQ(seen, expected);
}

TEST(Sampler, ResumesAtAnyPosition) {
  const auto straight = Sampler(11, 5).next(40);
  for (std::int64_t position = 0; position <= 40; ++position) {
    Sampler resumed(11, 5);
    resumed.seek(position);
    const std::vector<std::int64_t> expected(straight.begin() + position, straight.end());
    EXPECT_EQ(resumed.next(40 - position), expected) << position;
  }
}

TEST(Sampler, GoesBack) {
  Sampler sampler(6, 2);
  const auto first = sampler.next(20);
  sampler.seek(0);
  EXPECT_EQ(sampler.next(20), first);
}

TEST(Sampler, KeepsTheOrderWithoutShuffling) {
  Sampler sampler(3, 9, /*shuffle=*/false);
  EXPECT_EQ(sampler.next(7), (std::vector<std::int64_t>{0, 1, 2, 0, 1, 2, 0}));
}

// Each of the 6 orders of 3 comes up about equally often: 6000 epochs, expected 1000 each, standard
// deviation 29.
TEST(Sampler, IsNotBiased) {
  std::map<std::vector<std::int64_t>, int> counts;
  Sampler sampler(3, 11);
  for (int epoch = 0; epoch < 6000; ++epoch) ++counts[sampler.next(3)];
  ASSERT_EQ(counts.size(), 6U);
  for (const auto& [order, count] : counts) EXPECT_NEAR(count, 1000, 150);
}

TEST(Sampler, WorksForOneSequence) { EXPECT_EQ(Sampler(1, 0).next(3), (std::vector<std::int64_t>{0, 0, 0})); }

}  // namespace
}  // namespace lrqat::train
