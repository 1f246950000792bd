#include "lrqat/kernels/low_rank_sum.h"

#include <algorithm>
#include <cmath>

#include "lrqat/kernels/target.h"

namespace lrqat::kernels {
namespace {

constexpr std::int64_t kCols = 64;  // accumulators of a row that stay in registers

LRQAT_INLINE void add_block(const LowRankSum& sum, std::int64_t row, std::int64_t col, std::int64_t count,
                            float* values) {
  float acc[kCols] = {};
  const float* a = sum.lora_a + row * sum.rank;
  const float* b = sum.lora_b + col;
  if (count == kCols) {
    for (std::int64_t r = 0; r < sum.rank; ++r) {
      const float factor = a[r];
      for (std::int64_t j = 0; j < kCols; ++j) acc[j] = std::fma(factor, b[r * sum.cols + j], acc[j]);
    }
  } else {
    for (std::int64_t r = 0; r < sum.rank; ++r) {
      for (std::int64_t j = 0; j < count; ++j) acc[j] = std::fma(a[r], b[r * sum.cols + j], acc[j]);
    }
  }
  float* out = values + row * sum.cols + col;
  for (std::int64_t j = 0; j < count; ++j) out[j] = out[j] + sum.lora_scaling * acc[j];
}

}  // namespace

LRQAT_KERNEL
void low_rank_sum(const LowRankSum& sum, float* values) {
  const LowRankSum s = sum;  // a copy, so that stores through `values` cannot be taken to change it
  for (std::int64_t col = 0; col < s.cols; col += kCols) {
    const std::int64_t count = std::min(kCols, s.cols - col);
    for (std::int64_t row = 0; row < s.rows; ++row) add_block(s, row, col, count, values);
  }
}

void low_rank_sum_ref(const LowRankSum& sum, float* values) {
  for (std::int64_t n = 0; n < sum.rows; ++n) {
    for (std::int64_t k = 0; k < sum.cols; ++k) {
      float acc = 0.0F;
      for (std::int64_t r = 0; r < sum.rank; ++r) {
        acc = std::fma(sum.lora_a[n * sum.rank + r], sum.lora_b[r * sum.cols + k], acc);
      }
      values[n * sum.cols + k] += sum.lora_scaling * acc;
    }
  }
}

}  // namespace lrqat::kernels
