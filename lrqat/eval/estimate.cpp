#include "lrqat/eval/estimate.h"

#include <cmath>
#include <numeric>

#include "lrqat/base/error.h"

namespace lrqat::eval {

double mean(std::span<const double> values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

double standard_error(std::span<const double> values) {
  if (values.size() < 2) return 0;
  const double centre = mean(values), n = static_cast<double>(values.size());
  double squares = 0;
  for (const double value : values) squares += (value - centre) * (value - centre);
  return std::sqrt(squares / (n - 1)) / std::sqrt(n);
}

Estimate estimate(std::span<const double> values, std::span<const std::int64_t> sizes) {
  LRQAT_CHECK(!sizes.empty() &&
              std::accumulate(sizes.begin(), sizes.end(), std::int64_t{0}) == std::ssize(values));
  const double centre = mean(values), windows = static_cast<double>(sizes.size());
  // A ratio's error: how far the sum of each window is from what its size would give.
  double squares = 0;
  std::span<const double> rest = values;
  for (const std::int64_t size : sizes) {
    LRQAT_CHECK(size > 0);
    const double own = mean(rest.first(static_cast<std::size_t>(size)));
    squares += std::pow(static_cast<double>(size) * (own - centre), 2);
    rest = rest.subspan(static_cast<std::size_t>(size));
  }
  const double total = static_cast<double>(values.size());
  const double of_windows = sizes.size() < 2 ? 0 : std::sqrt(squares * windows / (windows - 1)) / total;
  return {centre, standard_error(values), of_windows};
}

}  // namespace lrqat::eval
