#include "lrqat/eval/estimate.h"

#include <cmath>
#include <vector>

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

Estimate estimate(std::span<const double> values, std::int64_t windows) {
  LRQAT_CHECK(windows > 0 && !values.empty() && values.size() % static_cast<std::size_t>(windows) == 0);
  const std::size_t size = values.size() / static_cast<std::size_t>(windows);
  std::vector<double> means;
  for (std::size_t begin = 0; begin < values.size(); begin += size)
    means.push_back(mean(values.subspan(begin, size)));
  return {mean(values), standard_error(values), standard_error(means)};
}

}  // namespace lrqat::eval
