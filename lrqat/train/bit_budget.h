// Which width each of many weights gets where the sum of their sizes is limited: the multiple-choice knapsack
// problem, by dynamic programming.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace lrqat::train {

// One way to store an item.
struct Choice {
  std::int64_t size = 0;  // of any unit, not negative
  double cost = 0.0;      // finite
};

// The index of a choice for each item, so that the sum of costs is least among those whose sum of sizes is at
// most `limit`; of equal ones the same every time. Nothing: not even the smallest choices fit. Every item has
// at least one choice and at most 255. Exact where (limit - smallest sum) / (greatest common divisor of the
// differences of sizes) is at most 2^18; beyond, sizes are rounded up to a coarser unit, so that the result
// still fits and is the best up to one unit an item.
std::optional<std::vector<std::size_t>> cheapest_within(std::span<const std::vector<Choice>> items,
                                                        std::int64_t limit);

}  // namespace lrqat::train
