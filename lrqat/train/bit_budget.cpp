#include "lrqat/train/bit_budget.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "lrqat/base/error.h"

namespace lrqat::train {
namespace {

constexpr std::int64_t kMostUnits = std::int64_t{1} << 18;

std::int64_t smallest(const std::vector<Choice>& choices) {
  LRQAT_CHECK(!choices.empty() && choices.size() < 256);
  return std::min_element(choices.begin(), choices.end(),
                          [](const Choice& a, const Choice& b) { return a.size < b.size; })
      ->size;
}

std::vector<std::size_t> cheapest_of_each(std::span<const std::vector<Choice>> items) {
  std::vector<std::size_t> result;
  for (const auto& choices : items) {
    const auto least = std::min_element(choices.begin(), choices.end(),
                                        [](const Choice& a, const Choice& b) { return a.cost < b.cost; });
    result.push_back(static_cast<std::size_t>(least - choices.begin()));
  }
  return result;
}

}  // namespace

std::optional<std::vector<std::size_t>> cheapest_within(std::span<const std::vector<Choice>> items,
                                                        std::int64_t limit) {
  std::int64_t left = limit, unit = 0, most = 0;  // left: above the smallest choices
  for (const auto& choices : items) {
    const std::int64_t least = smallest(choices);
    left -= least;
    std::int64_t largest = 0;
    for (const Choice& choice : choices) {
      unit = std::gcd(unit, choice.size - least);
      largest = std::max(largest, choice.size - least);
    }
    most += largest;
  }
  if (left < 0) return std::nullopt;
  if (left >= most) return cheapest_of_each(items);
  unit = std::max<std::int64_t>(unit, 1);
  if (left / unit > kMostUnits) unit = (left + kMostUnits - 1) / kMostUnits;
  const auto capacity = static_cast<std::size_t>(left / unit);

  // best[c]: the least cost of the items so far within c units; chosen: what the last of them has there.
  std::vector<double> best(capacity + 1, 0.0), before;
  std::vector<std::vector<std::uint8_t>> chosen;
  const auto units = [&](const std::vector<Choice>& choices, std::size_t i) {
    return static_cast<std::size_t>((choices[i].size - smallest(choices) + unit - 1) / unit);
  };
  for (const auto& choices : items) {
    before = best;
    std::fill(best.begin(), best.end(), std::numeric_limits<double>::infinity());
    auto& last = chosen.emplace_back(capacity + 1, 0);
    for (std::size_t i = 0; i < choices.size(); ++i) {
      const std::size_t taken = units(choices, i);
      for (std::size_t c = taken; c <= capacity; ++c) {
        const double cost = before[c - taken] + choices[i].cost;
        if (cost >= best[c]) continue;
        best[c] = cost;
        last[c] = static_cast<std::uint8_t>(i);
      }
    }
  }
  std::vector<std::size_t> result(items.size());
  std::size_t c = capacity;
  for (std::size_t i = items.size(); i-- > 0;) {
    result[i] = chosen[i][c];
    c -= units(items[i], result[i]);
  }
  return result;
}

}  // namespace lrqat::train
