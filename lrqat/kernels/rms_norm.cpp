#include "lrqat/kernels/rms_norm.h"

#include <cmath>

#include "lrqat/kernels/target.h"

namespace lrqat::kernels {

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

}  // namespace lrqat::kernels
