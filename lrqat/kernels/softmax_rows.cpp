#include "lrqat/kernels/softmax_rows.h"

#include <bit>

#include "lrqat/kernels/target.h"

namespace lrqat::kernels {
namespace {

// exp(x) for x <= about 0 to 2 units in the last place: x = n ln 2 + r, |r| <= ln 2 / 2, a polynomial in r
// (Cephes' expf), then n into the exponent. Below -87 the result is exp(-87), 1.6e-38: as good as zero in a
// sum whose largest term is 1. NaN stays NaN, so that a broken model is noticed.
LRQAT_INLINE float exp_nonpositive(float x) {
  constexpr float kLog2E = 1.44269504088896341F;
  constexpr float kLn2High = 0.693359375F;
  constexpr float kLn2Low = -2.12194440e-4F;
  constexpr float kMagic = 12582912.0F;  // 1.5 · 2^23: adding it rounds to an integer
  x = x < -87.0F ? -87.0F : x;
  const float shifted = x * kLog2E + kMagic;
  const float n = shifted - kMagic;
  const float r = (x - n * kLn2High) - n * kLn2Low;
  float p = 1.9875691500e-4F;
  p = p * r + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  p = p * (r * r) + (r + 1.0F);
  const std::uint32_t exponent = (std::bit_cast<std::uint32_t>(shifted) + 127U) << 23;
  return p * std::bit_cast<float>(exponent);
}

// tanh(x) to a few units in the last place: a polynomial near zero (Cephes' tanhf), where the other form
// cancels.
LRQAT_INLINE float tanh_of(float x) {
  const float size = x < 0.0F ? -x : x, z = x * x;
  float p = -5.70498872745e-3F;
  p = p * z + 2.06390887954e-2F;
  p = p * z - 5.37397155531e-2F;
  p = p * z + 1.33314422036e-1F;
  p = p * z - 3.33332819422e-1F;
  const float small = p * z * x + x;
  const float e = exp_nonpositive(-2.0F * size), large = (1.0F - e) / (1.0F + e);
  return size < 0.625F ? small : (x < 0.0F ? -large : large);
}

}  // namespace

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
