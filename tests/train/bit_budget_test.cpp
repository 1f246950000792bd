#include "lrqat/train/bit_budget.h"

#include <gtest/gtest.h>

#include <limits>

#include "lrqat/base/random.h"

namespace lrqat::train {
namespace {

using Items = std::vector<std::vector<Choice>>;

struct Total {
  std::int64_t size = 0;
  double cost = 0.0;
};

Total total(const Items& items, const std::vector<std::size_t>& chosen) {
  Total sum;
  for (std::size_t i = 0; i < items.size(); ++i) {
    sum.size += items[i].at(chosen[i]).size;
    sum.cost += items[i].at(chosen[i]).cost;
  }
  return sum;
}

// Every combination.
double least_cost(const Items& items, std::int64_t limit) {
  double least = std::numeric_limits<double>::infinity();
  std::vector<std::size_t> chosen(items.size(), 0);
  while (true) {
    const Total sum = total(items, chosen);
    if (sum.size <= limit) least = std::min(least, sum.cost);
    std::size_t i = 0;
    while (i < items.size() && ++chosen[i] == items[i].size()) chosen[i++] = 0;
    if (i == items.size()) return least;
  }
}

Items random_items(Random& random, std::int64_t unit) {
  Items items(2 + random.below(4));
  for (auto& choices : items) {
    choices.resize(1 + random.below(4));
    for (Choice& choice : choices)
      choice = {unit * static_cast<std::int64_t>(random.below(12)), 10.0 * random.uniform()};
  }
  return items;
}

TEST(CheapestWithin, IsTheLeastOfAllCombinations) {
  Random random(1);
  int none = 0;
  for (int trial = 0; trial < 300; ++trial) {
    const std::int64_t unit = trial % 2 == 0 ? 7 : 1'000'003;
    const Items items = random_items(random, unit);
    const std::int64_t limit = unit * static_cast<std::int64_t>(random.below(40)) + 3;
    const double least = least_cost(items, limit);
    const auto chosen = cheapest_within(items, limit);
    ASSERT_EQ(chosen.has_value(), least < std::numeric_limits<double>::infinity());
    none += chosen ? 0 : 1;
    if (!chosen) continue;
    EXPECT_LE(total(items, *chosen).size, limit);
    EXPECT_DOUBLE_EQ(total(items, *chosen).cost, least);
    EXPECT_EQ(*chosen, *cheapest_within(items, limit));
  }
  EXPECT_GT(none, 5);
}

// Sizes without a common divisor, far more units than there is room for.
TEST(CheapestWithin, CoarseUnitsStayWithinTheLimit) {
  Random random(2);
  Items items(60);
  std::int64_t smallest = 0, largest = 0;
  for (auto& choices : items) {
    std::int64_t size = 1'000'000'007 + static_cast<std::int64_t>(random.below(1'000'000));
    double cost = 100.0 * random.uniform();
    smallest += size;
    for (int i = 0; i < 4; ++i, cost /= 4.0) {
      choices.push_back({size, cost});
      size += 500'000'003 + static_cast<std::int64_t>(random.below(1'000'000));
    }
    largest += choices.back().size;
  }
  const std::int64_t limit = (smallest + largest) / 2;
  const auto chosen = cheapest_within(items, limit);
  ASSERT_TRUE(chosen.has_value());
  EXPECT_LE(total(items, *chosen).size, limit);
  EXPECT_GT(total(items, *chosen).size, limit - 1'000'000'000) << "the room is used";
  EXPECT_EQ(total(items, *cheapest_within(items, largest)).size, largest);
  EXPECT_EQ(total(items, *cheapest_within(items, smallest)).size, smallest);
  EXPECT_FALSE(cheapest_within(items, smallest - 1));
}

}  // namespace
}  // namespace lrqat::train
