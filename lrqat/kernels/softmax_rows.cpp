#include "lrqat/kernels/softmax_rows.h"

#include "lrqat/kernels/exponential.h"
#include "lrqat/kernels/target.h"

namespace lrqat::kernels {
LRQAT_KERNEL void update_log_sum_exp(const float* x, std::int64_t n, RunningLogSumExp& running) {
  float maximum = running.maximum;
#pragma omp simd reduction(max : maximum)
  for (std::int64_t i = 0; i < n; ++i) maximum = x[i] > maximum ? x[i] : maximum;
  float sum = 0.0F;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t i = 0; i < n; ++i) sum += exp_nonpositive(x[i] - maximum);
  running.sum = running.sum * exp_nonpositive(running.maximum - maximum) + sum;
  running.maximum = maximum;
}

LRQAT_KERNEL RunningLogSumExp exponentials(float* x, std::int64_t n) {
  float maximum = -3.4e38F, sum = 0.0F;
#pragma omp simd reduction(max : maximum)
  for (std::int64_t i = 0; i < n; ++i) maximum = x[i] > maximum ? x[i] : maximum;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t i = 0; i < n; ++i) {
    x[i] = exp_nonpositive(x[i] - maximum);
    sum += x[i];
  }
  return {maximum, sum};
}

LRQAT_KERNEL void probabilities(float* s, std::int64_t rows, std::int64_t n, const float* lse) {
  for (std::int64_t row = 0; row < rows; ++row, s += n) {
#pragma omp simd
    for (std::int64_t i = 0; i < n; ++i) s[i] = exp_nonpositive(s[i] - lse[i]);
  }
}

LRQAT_KERNEL void score_gradients(const float* p, float* dp, std::int64_t rows, std::int64_t n,
                                  const float* delta) {
  for (std::int64_t row = 0; row < rows; ++row, p += n, dp += n) {
#pragma omp simd
    for (std::int64_t i = 0; i < n; ++i) dp[i] = p[i] * (dp[i] - delta[i]);
  }
}

LRQAT_KERNEL void cap_scores(float* x, std::int64_t n, float cap, float* slope) {
  const float inverse = 1.0F / cap;
  if (slope == nullptr) {
#pragma omp simd
    for (std::int64_t i = 0; i < n; ++i) x[i] = cap * tanh_of(x[i] * inverse);
    return;
  }
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) {
    const float t = tanh_of(x[i] * inverse);
    x[i] = cap * t;
    slope[i] = (1.0F - t) * (1.0F + t);
  }
}

LRQAT_KERNEL void multiply_elements(float* x, const float* factor, std::int64_t n) {
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) x[i] *= factor[i];
}

LRQAT_KERNEL void softmax_gradient(float* z, std::int64_t n, float lse, float factor) {
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) z[i] = factor * exp_nonpositive(z[i] - lse);
}

LRQAT_KERNEL float distilled_gradient(float* z, const float* t, std::int64_t n, float lse, float lse_teacher,
                                      float factor, float weight) {
  float difference = 0.0F;
#pragma omp simd reduction(+ : difference)
  for (std::int64_t i = 0; i < n; ++i) {
    const float teacher = exp_nonpositive(t[i] - lse_teacher);
    const float student = exp_nonpositive(z[i] - lse);
    difference += teacher * (t[i] - z[i]);
    z[i] = factor * (student - weight * teacher);
  }
  return difference;
}

LRQAT_KERNEL float teacher_weighted_difference(const float* z, const float* t, std::int64_t n,
                                               float lse_teacher) {
  float difference = 0.0F;
#pragma omp simd reduction(+ : difference)
  for (std::int64_t i = 0; i < n; ++i) difference += exp_nonpositive(t[i] - lse_teacher) * (t[i] - z[i]);
  return difference;
}

}  // namespace lrqat::kernels
