// The error of rounding a row to a grid: the inner loop of the range estimators, which search on the host.
#pragma once

#include <cstdint>
#include <span>

#include "lrqat/kernels/range_search.h"

namespace lrqat::ops {

// Σ |w - s·clip(rint(w / s), quant_min, quant_max)|^p
inline double rounding_error(std::span<const float> weight, float scale, float quant_min, float quant_max,
                             double p) {
  return kernels::rounding_error(weight.data(), static_cast<std::int64_t>(weight.size()), scale, quant_min,
                                 quant_max, p);
}

}  // namespace lrqat::ops
