#include "lrqat/kernels/hadamard.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "lrqat/kernels/target.h"

namespace lrqat::kernels {
namespace {

constexpr std::int64_t kBlock = 16;

float walsh(std::int64_t i, std::int64_t j) {
  return std::popcount(static_cast<std::uint64_t>(i & j)) % 2 == 0 ? 1.0F : -1.0F;
}

// Of order 16, which is symmetric.
constexpr std::array<std::array<float, kBlock>, kBlock> kWalsh = [] {
  std::array<std::array<float, kBlock>, kBlock> matrix{};
  for (std::size_t i = 0; i < kBlock; ++i) {
    for (std::size_t j = 0; j < kBlock; ++j) matrix[i][j] = std::popcount(i & j) % 2 == 0 ? 1.0F : -1.0F;
  }
  return matrix;
}();

// y[b, :] = Σ_a S[a, b]·x[a, :], a few hundred columns at a time, so that they stay in the cache.
LRQAT_INLINE void mix_rows(const float* x, const HadamardTransform& transform, float* out) {
  constexpr std::int64_t kColumns = 256;
  const std::int64_t small = transform.small, power = transform.power;
  for (std::int64_t begin = 0; begin < power; begin += kColumns) {
    const std::int64_t count = std::min(kColumns, power - begin);
    for (std::int64_t b = 0; b < small; ++b) {
      float* y = out + b * power + begin;
      std::fill_n(y, count, 0.0F);
      for (std::int64_t a = 0; a < small; ++a) {
        const float sign = transform.matrix[a * small + b];
        const float* from = x + a * power + begin;
        for (std::int64_t i = 0; i < count; ++i) y[i] += sign * from[i];
      }
    }
  }
}

// Sums and differences of values that lie `stride` apart.
LRQAT_INLINE void butterflies(float* y, std::int64_t n, std::int64_t stride) {
  for (std::int64_t begin = 0; begin < n; begin += 2 * stride) {
    float *low = y + begin, *high = low + stride;
    for (std::int64_t i = 0; i < stride; ++i) {
      const float a = low[i], b = high[i];
      low[i] = a + b;
      high[i] = a - b;
    }
  }
}

// The strides 1, 2, 4 and 8 at once, as a product with a matrix of order 16: vectors need not be shuffled.
LRQAT_INLINE void first_strides(float* y, std::int64_t n) {
  for (std::int64_t begin = 0; begin < n; begin += kBlock) {
    std::array<float, kBlock> sum{};
    for (std::size_t i = 0; i < kBlock; ++i) {
      const float value = y[begin + static_cast<std::int64_t>(i)];
      for (std::size_t j = 0; j < kBlock; ++j) sum[j] += value * kWalsh[i][j];
    }
    std::copy_n(sum.data(), kBlock, y + begin);
  }
}

}  // namespace

LRQAT_KERNEL
void hadamard_row(const float* x, const HadamardTransform& transform, float* out) {
  const std::int64_t n = transform.small * transform.power;
  if (transform.small == 1) {
    std::copy_n(x, n, out);
  } else {
    mix_rows(x, transform, out);
  }
  std::int64_t stride = 1;
  if (transform.power >= kBlock) {
    first_strides(out, n);
    stride = kBlock;
  }
  for (; stride < transform.power; stride *= 2) butterflies(out, n, stride);
  const auto factor = static_cast<float>(1.0 / std::sqrt(static_cast<double>(n)));
  for (std::int64_t i = 0; i < n; ++i) out[i] *= factor;
}

void hadamard_row_ref(const float* x, const HadamardTransform& transform, float* out) {
  const std::int64_t small = transform.small, power = transform.power;
  for (std::int64_t b = 0; b < small; ++b) {
    for (std::int64_t j = 0; j < power; ++j) {
      double sum = 0;
      for (std::int64_t a = 0; a < small; ++a) {
        for (std::int64_t i = 0; i < power; ++i)
          sum += static_cast<double>(transform.matrix[a * small + b]) * walsh(i, j) * x[a * power + i];
      }
      out[b * power + j] = static_cast<float>(sum / std::sqrt(static_cast<double>(small * power)));
    }
  }
}

}  // namespace lrqat::kernels
