// The rounding error of a row for one candidate scale: Σ |w - s·clip(rint(w/s))|^p. The inner loop of the L_p
// range estimators; p = 2, 3, 3.5, 4, 5 have fast forms, other powers go through pow.
#pragma once

#include <cstdint>

namespace lrqat::kernels {

double rounding_error(const float* weight, std::int64_t count, float scale, float quant_min, float quant_max,
                      double p);
double rounding_error_ref(const float* weight, std::int64_t count, float scale, float quant_min,
                          float quant_max, double p);

}  // namespace lrqat::kernels
