#include "lrqat/kernels/range_search.h"

#include <algorithm>
#include <cmath>

#include "lrqat/kernels/target.h"

namespace lrqat::kernels {
namespace {

constexpr std::int64_t kLanes = 16;

// Σ power(|error|) with one accumulator a lane; the lanes are added in double.
template <typename Power>
LRQAT_INLINE double sum_errors(const float* weight, std::int64_t count, float scale, float quant_min,
                               float quant_max, const Power& power) {
  double total = 0.0;
  for (std::int64_t begin = 0; begin < count; begin += 1024) {
    const std::int64_t end = std::min(count, begin + 1024);
    float lanes[kLanes] = {};
    std::int64_t k = begin;
    for (; k + kLanes <= end; k += kLanes) {
      for (std::int64_t j = 0; j < kLanes; ++j) {
        const float low = std::max(std::rint(weight[k + j] / scale), quant_min);
        lanes[j] += power(std::fabs(weight[k + j] - scale * std::min(low, quant_max)));
      }
    }
    for (std::int64_t j = 0; k < end; ++k, ++j) {
      const float q = std::clamp(std::rint(weight[k] / scale), quant_min, quant_max);
      lanes[j] += power(std::fabs(weight[k] - scale * q));
    }
    for (const float lane : lanes) total += static_cast<double>(lane);
  }
  return total;
}

}  // namespace

LRQAT_KERNEL
double rounding_error(const float* weight, std::int64_t count, float scale, float quant_min, float quant_max,
                      double p) {
  const auto sum = [&](const auto& power) __attribute__((always_inline)) {
    return sum_errors(weight, count, scale, quant_min, quant_max, power);
  };
  if (p == 2.0) return sum([](float e) { return e * e; });
  if (p == 3.0) return sum([](float e) { return e * e * e; });
  if (p == 3.5) return sum([](float e) { return e * e * e * std::sqrt(e); });
  if (p == 4.0) return sum([](float e) { return (e * e) * (e * e); });
  if (p == 5.0) return sum([](float e) { return (e * e) * (e * e) * e; });
  const auto exponent = static_cast<float>(p);
  return sum([exponent](float e) { return std::pow(e, exponent); });
}

double rounding_error_ref(const float* weight, std::int64_t count, float scale, float quant_min,
                          float quant_max, double p) {
  double total = 0.0;
  for (std::int64_t k = 0; k < count; ++k) {
    const float q = std::clamp(std::rint(weight[k] / scale), quant_min, quant_max);
    total += std::pow(static_cast<double>(std::fabs(weight[k] - scale * q)), p);
  }
  return total;
}

}  // namespace lrqat::kernels
