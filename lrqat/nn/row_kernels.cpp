#include "lrqat/nn/row_kernels.h"

#include <cmath>

#include "lrqat/kernels/target.h"

namespace lrqat::nn {

LRQAT_KERNEL
float rms_norm_row(const float* x, const float* weight, float eps, float* y, std::int64_t size) {
  float sum = 0.0F;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t i = 0; i < size; ++i) sum += x[i] * x[i];
  const float r = 1.0F / std::sqrt(sum / static_cast<float>(size) + eps);
#pragma omp simd
  for (std::int64_t i = 0; i < size; ++i) y[i] = weight[i] * (x[i] * r);
  return r;
}

LRQAT_KERNEL
void rms_norm_backward_row(const float* grad, const float* x, const float* weight, float r, float* grad_x,
                           std::int64_t size) {
  float sum = 0.0F;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t i = 0; i < size; ++i) sum += weight[i] * grad[i] * x[i];
  const float along_x = r * r * r * (sum / static_cast<float>(size));
#pragma omp simd
  for (std::int64_t i = 0; i < size; ++i) grad_x[i] = r * weight[i] * grad[i] - along_x * x[i];
}

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

}  // namespace lrqat::nn
