#include "lrqat/kernels/low_rank_tile.h"

#include <algorithm>
#include <bit>
#include <cmath>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "lrqat/base/half.h"
#include "lrqat/kernels/copy_pairs.h"
#include "lrqat/kernels/decode_phi.h"
#include "lrqat/kernels/target.h"
#include "lrqat/kernels/transpose.h"

namespace lrqat::kernels {
namespace {

constexpr std::int64_t kRows = 16;    // rows of a block: what a cache line of the transposed forms holds
constexpr std::int64_t kSubRows = 4;  // rows whose accumulators stay in registers together

LRQAT_INLINE float round_to_bfloat16(float value) { return bfloat16_to_float(float_to_bfloat16(value)); }

// acc[i][j] = Σ_r A[row + i, r] · B[r, col + j] for kSubRows full rows of a block's columns, acc with as many
// a row. a and b point to the block's corner. Never inlined: compilers keep the accumulators in registers
// only where they are written as vectors.
using ProductBlock = void (*)(const float* a, const float* b, std::int64_t rank, std::int64_t b_stride,
                              float* acc);

template <std::int64_t kCols>
void product_block_plain(const float* a, const float* b, std::int64_t rank, std::int64_t b_stride,
                         float* acc) {
  std::fill_n(acc, kSubRows * kCols, 0.0F);
  for (std::int64_t r = 0; r < rank; ++r) {
    for (std::int64_t i = 0; i < kSubRows; ++i) {
      const float ai = a[i * rank + r];
      for (std::int64_t j = 0; j < kCols; ++j)
        acc[i * kCols + j] = std::fma(ai, b[r * b_stride + j], acc[i * kCols + j]);
    }
  }
}

#if defined(__x86_64__)
// 4 x 64: 16 of the 32 registers.
__attribute__((noinline)) LRQAT_TARGET_V4 void product_block_v4(const float* a, const float* b,
                                                                std::int64_t rank, std::int64_t b_stride,
                                                                float* acc) {
  __m512 c[kSubRows][4];
  for (auto& row : c) {
    for (auto& part : row) part = _mm512_setzero_ps();
  }
  for (std::int64_t r = 0; r < rank; ++r, b += b_stride) {
    const __m512 b0 = _mm512_loadu_ps(b), b1 = _mm512_loadu_ps(b + 16), b2 = _mm512_loadu_ps(b + 32),
                 b3 = _mm512_loadu_ps(b + 48);
#pragma GCC unroll 4
    for (int i = 0; i < kSubRows; ++i) {
      const __m512 ai = _mm512_set1_ps(a[i * rank + r]);
      c[i][0] = _mm512_fmadd_ps(ai, b0, c[i][0]);
      c[i][1] = _mm512_fmadd_ps(ai, b1, c[i][1]);
      c[i][2] = _mm512_fmadd_ps(ai, b2, c[i][2]);
      c[i][3] = _mm512_fmadd_ps(ai, b3, c[i][3]);
    }
  }
  for (int i = 0; i < kSubRows; ++i) {
    for (int j = 0; j < 4; ++j) _mm512_storeu_ps(acc + i * 64 + 16 * j, c[i][j]);
  }
}

// 4 x 16: 8 of the 16 registers.
__attribute__((noinline)) LRQAT_TARGET_V3 void product_block_v3(const float* a, const float* b,
                                                                std::int64_t rank, std::int64_t b_stride,
                                                                float* acc) {
  __m256 c[kSubRows][2];
  for (auto& row : c) row[0] = row[1] = _mm256_setzero_ps();
  for (std::int64_t r = 0; r < rank; ++r, b += b_stride) {
    const __m256 b0 = _mm256_loadu_ps(b), b1 = _mm256_loadu_ps(b + 8);
#pragma GCC unroll 4
    for (int i = 0; i < kSubRows; ++i) {
      const __m256 ai = _mm256_broadcast_ss(a + i * rank + r);
      c[i][0] = _mm256_fmadd_ps(ai, b0, c[i][0]);
      c[i][1] = _mm256_fmadd_ps(ai, b1, c[i][1]);
    }
  }
  for (int i = 0; i < kSubRows; ++i) {
    for (int j = 0; j < 2; ++j) _mm256_storeu_ps(acc + i * 16 + 8 * j, c[i][j]);
  }
}
#endif

// The same for the edges of a tile, one row at a time.
LRQAT_INLINE void product_row(const LowRankTile& t, std::int64_t row, std::int64_t col, std::int64_t count,
                              float* acc) {
  for (std::int64_t j = 0; j < count; ++j) acc[j] = 0.0F;
  for (std::int64_t r = 0; r < t.rank; ++r) {
    const float a = t.lora_a[row * t.rank + r];
    const float* b = t.lora_b + r * t.lora_b_stride + t.col_begin + col;
    for (std::int64_t j = 0; j < count; ++j) acc[j] = std::fma(a, b[j], acc[j]);
  }
}

// acc <- γ·acc
LRQAT_INLINE void scale_low_rank(const LowRankTile& t, std::int64_t count, float* acc) {
  if (t.bfloat16_product) {
    for (std::int64_t j = 0; j < count; ++j) {
      acc[j] = round_to_bfloat16(t.lora_scaling * round_to_bfloat16(acc[j]));
    }
  } else {
    for (std::int64_t j = 0; j < count; ++j) acc[j] = t.lora_scaling * acc[j];
  }
}

// acc <- the rounded, unclipped grid value.
LRQAT_INLINE void round_block(const LowRankTile& t, const float* phi, std::int64_t count, float* acc) {
  scale_low_rank(t, count, acc);
  if (t.round_low_rank) {
    for (std::int64_t j = 0; j < count; ++j) acc[j] = phi[j] + std::rint(acc[j]);
  } else {
    for (std::int64_t j = 0; j < count; ++j) acc[j] = std::rint(phi[j] + acc[j]);
  }
}

// visit(begin, end, group) for the runs of a block's columns that share a scale.
template <typename Visit>
LRQAT_INLINE void for_each_group(const LowRankTile& t, const ScaleView& scale, std::int64_t col,
                                 std::int64_t count, const Visit& visit) {
  const std::int64_t first = t.col_begin + col;
  // a division costs as much as a row does
  std::int64_t group = first < scale.group_size ? 0 : first / scale.group_size;
  for (std::int64_t j = 0; j < count; ++group) {
    const std::int64_t end = std::min(count, (group + 1) * scale.group_size - first);
    visit(j, end, group);
    j = end;
  }
}

LRQAT_INLINE void scale_values(const LowRankTile& t, const ScaleView& scale, std::int64_t row,
                               std::int64_t col, std::int64_t count, const float* q, float* out) {
  const float* s = scale.data + row * scale.row_stride;
  const auto multiply = [&](std::int64_t begin, std::int64_t end, std::int64_t group)
      __attribute__((always_inline)) {
    const float factor = s[group];
    for (std::int64_t j = begin; j < end; ++j) out[j] = factor * q[j];
  };
  for_each_group(t, scale, col, count, multiply);
}

// q <- q - z: a whole number below 2^9, exact in bfloat16 too.
LRQAT_INLINE void subtract_zero_points(const LowRankTile& t, const ScaleView& scale, std::int64_t row,
                                       std::int64_t col, std::int64_t count, float* q) {
  const std::int8_t* z = scale.zero_point + row * scale.row_stride;
  const auto subtract = [&](std::int64_t begin, std::int64_t end, std::int64_t group)
      __attribute__((always_inline)) {
    const auto shift = static_cast<float>(z[group]);
    for (std::int64_t j = begin; j < end; ++j) q[j] = q[j] - shift;
  };
  for_each_group(t, scale, col, count, subtract);
}

LRQAT_INLINE void append_clipped(const TileOutput& out, std::int64_t row, std::int64_t col,
                                 std::int64_t count, const float* rounded, const float* q) {
  for (std::int64_t begin = 0; begin < count; begin += 16) {
    const std::int64_t end = std::min<std::int64_t>(count, begin + 16);
    int clipped = 0;
    for (std::int64_t j = begin; j < end; ++j) clipped += q[j] == rounded[j] ? 0 : 1;
    if (clipped == 0) continue;
    for (std::int64_t j = begin; j < end; ++j) {
      if (q[j] == rounded[j]) continue;
      out.clipped_entries->push_back({out.first_row + static_cast<std::int32_t>(row),
                                      out.first_col + static_cast<std::int32_t>(col + j)});
    }
  }
}

// What is written of one row of a block: q and the unclipped value that it came from.
LRQAT_INLINE void write_row(const LowRankTile& t, const ScaleView& scale, const TileOutput& out,
                            std::int64_t row, std::int64_t col, std::int64_t count, const float* rounded,
                            float* q) {
  const std::int64_t at = row * t.cols + col;
  if (out.bfloat16_codes != nullptr) {
    for (std::int64_t j = 0; j < count; ++j) {
      out.bfloat16_codes[at + j] = t.is_float
                                       ? float_to_bfloat16(q[j])  // codes are exact
                                       : static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(q[j]) >> 16);
    }
  }
  if (out.codes != nullptr) {
    for (std::int64_t j = 0; j < count; ++j)
      out.codes[at + j] = static_cast<std::int8_t>(static_cast<int>(q[j]));
  }
  if (out.mask != nullptr) {
    for (std::int64_t j = 0; j < count; ++j) out.mask[at + j] = q[j] == rounded[j] ? 1 : 0;
  }
  if (out.clipped != nullptr) {
    std::int32_t clipped = 0;
    for (std::int64_t j = 0; j < count; ++j) clipped += q[j] == rounded[j] ? 0 : 1;
    out.clipped[row] += clipped;
  }
  if (out.clipped_entries != nullptr) append_clipped(out, row, col, count, rounded, q);
  if (scale.zero_point != nullptr) subtract_zero_points(t, scale, row, col, count, q);
  if (out.values != nullptr)
    scale_values(t, scale, row, col, count, q, out.values + row * out.values_stride + col);
}

LRQAT_INLINE std::uint32_t bfloat16_pair(float low, float high) {
  return (std::bit_cast<std::uint32_t>(low) >> 16) | (std::bit_cast<std::uint32_t>(high) & 0xffff0000U);
}

// What is written of a whole block q [rows, count] with row stride kCols.
template <std::int64_t kCols>
LRQAT_INLINE void write_operands(const LowRankTile& t, const ScaleView& scale, const TileOutput& out,
                                 std::int64_t row, std::int64_t rows, std::int64_t col, std::int64_t count,
                                 float* q) {
  alignas(64) std::uint32_t words[kRows * kCols];
  if (out.transposed != nullptr) {
    auto* scaled = reinterpret_cast<float*>(words);
    for (std::int64_t i = 0; i < rows; ++i)
      scale_values(t, scale, row + i, col, count, q + i * kCols, scaled + i * kCols);
    transpose_words(words, rows, count, kCols,
                    reinterpret_cast<std::uint32_t*>(out.transposed) + col * out.transposed_stride + row,
                    out.transposed_stride);
  }
  if (out.scaled_pairs || t.is_float) {
    for (std::int64_t i = 0; i < rows; ++i) {
      if (out.scaled_pairs) scale_values(t, scale, row + i, col, count, q + i * kCols, q + i * kCols);
      for (std::int64_t j = 0; j < count; ++j) q[i * kCols + j] = round_to_bfloat16(q[i * kCols + j]);
    }
  }
  if (out.transposed_pairs != nullptr) {
    for (std::int64_t i = 0; i < rows; ++i) {
      const float* qi = q + i * kCols;
      for (std::int64_t j = 0; j < count / 2; ++j)
        words[i * kCols + j] = bfloat16_pair(qi[2 * j], qi[2 * j + 1]);
    }
    transpose_words(words, rows, count / 2, kCols,
                    out.transposed_pairs + col / 2 * out.transposed_stride + row, out.transposed_stride);
  }
  if (out.row_pairs != nullptr) {
    for (std::int64_t i = 0; i + 1 < rows; i += 2) {
      std::uint32_t* to = out.row_pairs + (row + i) / 2 * out.row_pairs_stride + col;
      const float *even = q + i * kCols, *odd = even + kCols;
      for (std::int64_t j = 0; j < count; ++j) to[j] = bfloat16_pair(even[j], odd[j]);
    }
  }
}

// One row of a block: q from the low-rank sum that stands in acc; acc becomes the unclipped value.
LRQAT_INLINE void quantize_row(const LowRankTile& t, std::int64_t row, std::int64_t col, std::int64_t count,
                               float* acc, float* q) {
  if (t.is_float && t.rank == 0) {
    decode_phi(t.phi, row, t.col_begin + col, count, acc);
    for (std::int64_t j = 0; j < count; ++j) q[j] = acc[j];
    return;
  }
  decode_phi(t.phi, row, t.col_begin + col, count, q);
  if (t.is_float) {
    scale_low_rank(t, count, acc);
    for (std::int64_t j = 0; j < count; ++j) acc[j] = q[j] += acc[j];
    return;
  }
  round_block(t, q, count, acc);
  for (std::int64_t j = 0; j < count; ++j) {
    const float low = acc[j] < t.quant_min ? t.quant_min : acc[j];
    q[j] = low > t.quant_max ? t.quant_max : low;
  }
}

template <std::int64_t kCols, ProductBlock kProduct>
LRQAT_INLINE void tile_body(const LowRankTile& tile, const ScaleView& scale, const TileOutput& output) {
  LowRankTile t = tile;  // copies, so that stores through `output` cannot be taken to change them
  const TileOutput out = output;
  if (t.lora_b_stride == 0) t.lora_b_stride = t.cols;
  alignas(64) float acc[kSubRows * kCols];
  alignas(64) float q[kRows * kCols];
  const bool as_operand =
      out.transposed != nullptr || out.transposed_pairs != nullptr || out.row_pairs != nullptr;
  if (out.clipped != nullptr) std::fill_n(out.clipped, t.rows, 0);
  for (std::int64_t col = 0; col < t.cols; col += kCols) {
    const std::int64_t count = std::min(kCols, t.cols - col);
    for (std::int64_t row = 0; row < t.rows; row += kRows) {
      const std::int64_t rows = std::min(kRows, t.rows - row);
      for (std::int64_t sub = 0; sub < rows; sub += kSubRows) {
        const std::int64_t block = std::min(kSubRows, rows - sub);
        if (t.rank == 0) {
          std::fill_n(acc, block * kCols, 0.0F);
        } else if (block == kSubRows && count == kCols) {
          kProduct(t.lora_a + (row + sub) * t.rank, t.lora_b + t.col_begin + col, t.rank, t.lora_b_stride,
                   acc);
        } else {
          for (std::int64_t i = 0; i < block; ++i) product_row(t, row + sub + i, col, count, acc + i * kCols);
        }
        for (std::int64_t i = 0; i < block; ++i) {
          float* qi = q + (sub + i) * kCols;
          quantize_row(t, row + sub + i, col, count, acc + i * kCols, qi);
          write_row(t, scale, out, row + sub + i, col, count, acc + i * kCols, qi);
        }
      }
      if (as_operand) write_operands<kCols>(t, scale, out, row, rows, col, count, q);
    }
  }
}

#if defined(__x86_64__)
LRQAT_TARGET_V4 void tile_v4(const LowRankTile& tile, const ScaleView& scale, const TileOutput& output) {
  tile_body<64, product_block_v4>(tile, scale, output);
}

LRQAT_TARGET_V3 void tile_v3(const LowRankTile& tile, const ScaleView& scale, const TileOutput& output) {
  tile_body<16, product_block_v3>(tile, scale, output);
}
#endif

}  // namespace

void low_rank_tile(const LowRankTile& tile, const ScaleView& scale, const TileOutput& output) {
  if (only_copies_pairs(tile, output)) return copy_pairs(tile, output);
#if defined(__x86_64__)
  if (kernel_target() == KernelTarget::v4) return tile_v4(tile, scale, output);
  if (kernel_target() == KernelTarget::v3) return tile_v3(tile, scale, output);
#endif
  tile_body<16, product_block_plain<16>>(tile, scale, output);
}

}  // namespace lrqat::kernels
