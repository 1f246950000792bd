#include "lrqat/kernels/rotary.h"

#include "lrqat/kernels/target.h"

namespace lrqat::kernels {

LRQAT_KERNEL
void rotate_head(const float* x, const float* cos, const float* sin, float direction, float* out,
                 std::int64_t half) {
#pragma omp simd
  for (std::int64_t i = 0; i < half; ++i) {
    const float s = direction * sin[i];
    const float x1 = x[i];
    const float x2 = x[i + half];
    out[i] = x1 * cos[i] - x2 * s;
    out[i + half] = x2 * cos[i] + x1 * s;
  }
}

}  // namespace lrqat::kernels
