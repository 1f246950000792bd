#include "lrqat/kernels/token_sums.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "lrqat/base/half.h"
#include "lrqat/kernels/target.h"
#include "lrqat/kernels/transpose.h"

namespace lrqat::kernels {
namespace {

constexpr std::int64_t kLanes = 32;

LRQAT_INLINE float low_half(std::uint32_t word) { return std::bit_cast<float>(word << 16); }
LRQAT_INLINE float high_half(std::uint32_t word) { return std::bit_cast<float>(word & 0xffff0000U); }

LRQAT_INLINE float sum_of(const float* lanes) {
  float sum = 0.0F;
  for (std::int64_t j = 0; j < kLanes; ++j) sum += lanes[j];
  return sum;
}

}  // namespace

LRQAT_KERNEL
void column_products(const float* grad, const float* output, std::int64_t tokens, std::int64_t stride,
                     std::int64_t begin, std::int64_t end, float* sums) {
  constexpr std::int64_t kCols = 64, kBlock = 128;  // a block's sums stay in registers or in the first cache
  for (std::int64_t col = begin; col < end; col += kCols) {
    const std::int64_t count = std::min(kCols, end - col);
    float total[kCols] = {};
    for (std::int64_t first = 0; first < tokens; first += kBlock) {
      const std::int64_t last = std::min(tokens, first + kBlock);
      float block[kCols] = {};
      for (std::int64_t t = first; t < last; ++t) {
        const float *g = grad + t * stride + col, *y = output + t * stride + col;
        for (std::int64_t j = 0; j < count; ++j) block[j] += g[j] * y[j];
      }
      for (std::int64_t j = 0; j < count; ++j) total[j] += block[j];
    }
    for (std::int64_t j = 0; j < count; ++j) sums[col + j] = total[j];
  }
}

LRQAT_KERNEL
void scale_to_bfloat16(const float* grad, const float* scale, std::int64_t begin, std::int64_t end,
                       std::int64_t cols, std::uint16_t* scaled) {
  for (std::int64_t t = begin; t < end; ++t) {
    const float* g = grad + t * cols;
    std::uint16_t* out = scaled + t * cols;
    if (scale == nullptr) {
      for (std::int64_t j = 0; j < cols; ++j) out[j] = float_to_bfloat16(g[j]);
    } else {
      for (std::int64_t j = 0; j < cols; ++j) out[j] = float_to_bfloat16(g[j] * scale[j]);
    }
  }
}

LRQAT_KERNEL
void pair_rows(const std::uint16_t* in, std::int64_t rows, std::int64_t cols, std::int64_t begin,
               std::int64_t end, std::uint32_t* out) {
  for (std::int64_t i = begin; i < end; ++i) {
    const std::uint16_t* low = in + 2 * i * cols;
    pair_row(low, 2 * i + 1 < rows ? low + cols : nullptr, cols, out + i * cols);
  }
}

LRQAT_KERNEL
void transpose(const std::uint32_t* in, std::int64_t rows, std::int64_t cols, std::int64_t begin,
               std::int64_t end, std::uint32_t* out) {
  constexpr std::int64_t kBlock = 64;  // 16 KiB read and 16 KiB written stay in the first cache
  for (std::int64_t j = begin; j < end; j += kBlock) {
    for (std::int64_t i = 0; i < rows; i += kBlock) {
      transpose_words(in + i * cols + j, std::min(kBlock, rows - i), std::min(kBlock, end - j), cols,
                      out + j * rows + i, rows);
    }
  }
}

LRQAT_KERNEL
void transpose_pairs(const std::uint16_t* in, std::int64_t rows, std::int64_t cols, std::int64_t begin,
                     std::int64_t end, std::uint32_t* out) {
  constexpr std::int64_t kBlock = 64;
  const std::int64_t words = (rows + 1) / 2;
  std::uint32_t pairs[kBlock * kBlock];
  for (std::int64_t j = begin; j < end; j += kBlock) {
    const std::int64_t width = std::min(kBlock, end - j);
    for (std::int64_t i = 0; i < words; i += kBlock) {
      const std::int64_t height = std::min(kBlock, words - i);
      for (std::int64_t row = 0; row < height; ++row) {
        const std::uint16_t* low = in + 2 * (i + row) * cols + j;
        pair_row(low, 2 * (i + row) + 1 < rows ? low + cols : nullptr, width, pairs + row * kBlock);
      }
      transpose_words(pairs, height, width, kBlock, out + j * words + i, words);
    }
  }
}

LRQAT_KERNEL
void sampled_products(const ClippedEntry* entries, std::int64_t count, const float* grad, const float* x,
                      std::int64_t tokens, float* g) {
  for (std::int64_t i = 0; i < count; ++i) {
    const float *a = grad + entries[i].row * tokens, *b = x + entries[i].col * tokens;
    float lanes[kLanes] = {};
    std::int64_t t = 0;
    for (; t + kLanes <= tokens; t += kLanes) {
      for (std::int64_t j = 0; j < kLanes; ++j) lanes[j] = std::fma(a[t + j], b[t + j], lanes[j]);
    }
    for (std::int64_t j = 0; t < tokens; ++t, ++j) lanes[j] = std::fma(a[t], b[t], lanes[j]);
    g[i] = sum_of(lanes);
  }
}

LRQAT_KERNEL
void sampled_products_of_pairs(const ClippedEntry* entries, std::int64_t count, const std::uint32_t* grad,
                               const std::uint32_t* x, std::int64_t words, float* g) {
  for (std::int64_t i = 0; i < count; ++i) {
    const std::uint32_t *a = grad + entries[i].row * words, *b = x + entries[i].col * words;
    float lanes[kLanes] = {};
    std::int64_t t = 0;
    for (; t + kLanes <= words; t += kLanes) {
      for (std::int64_t j = 0; j < kLanes; ++j) {
        lanes[j] = std::fma(low_half(a[t + j]), low_half(b[t + j]), lanes[j]);
        lanes[j] = std::fma(high_half(a[t + j]), high_half(b[t + j]), lanes[j]);
      }
    }
    for (std::int64_t j = 0; t < words; ++t, ++j) {
      lanes[j] = std::fma(low_half(a[t]), low_half(b[t]), lanes[j]);
      lanes[j] = std::fma(high_half(a[t]), high_half(b[t]), lanes[j]);
    }
    g[i] = sum_of(lanes);
  }
}

}  // namespace lrqat::kernels
