// Layouts of operands, for the kernels of this folder: transposition of 8x8 blocks of 32-bit words in
// registers, and two rows of 16-bit words as one of pairs. Inlined into each of their targets.
#pragma once

#include <cstdint>
#include <cstring>

#include "lrqat/kernels/target.h"

namespace lrqat::kernels {

// out[j * out_stride + i] = in[i * in_stride + j] for i, j < 8; strides in words.
LRQAT_INLINE void transpose_8x8(const void* in, std::int64_t in_stride, void* out, std::int64_t out_stride) {
  using Words = std::int32_t __attribute__((vector_size(32)));
  const auto* from = static_cast<const std::int32_t*>(in);
  auto* to = static_cast<std::int32_t*>(out);
  Words r[8], t[8];
  for (int i = 0; i < 8; ++i) std::memcpy(&r[i], from + i * in_stride, sizeof(Words));
  const Words low = {0, 8, 1, 9, 4, 12, 5, 13}, high = {2, 10, 3, 11, 6, 14, 7, 15};
  for (int i = 0; i < 8; i += 2) {
    t[i] = __builtin_shuffle(r[i], r[i + 1], low);
    t[i + 1] = __builtin_shuffle(r[i], r[i + 1], high);
  }
  const Words low2 = {0, 1, 8, 9, 4, 5, 12, 13}, high2 = {2, 3, 10, 11, 6, 7, 14, 15};
  for (int i = 0; i < 8; i += 4) {
    r[i] = __builtin_shuffle(t[i], t[i + 2], low2);
    r[i + 1] = __builtin_shuffle(t[i], t[i + 2], high2);
    r[i + 2] = __builtin_shuffle(t[i + 1], t[i + 3], low2);
    r[i + 3] = __builtin_shuffle(t[i + 1], t[i + 3], high2);
  }
  const Words low4 = {0, 1, 2, 3, 8, 9, 10, 11}, high4 = {4, 5, 6, 7, 12, 13, 14, 15};
  for (int i = 0; i < 4; ++i) {
    t[i] = __builtin_shuffle(r[i], r[i + 4], low4);
    t[i + 4] = __builtin_shuffle(r[i], r[i + 4], high4);
  }
  for (int i = 0; i < 8; ++i) std::memcpy(to + i * out_stride, &t[i], sizeof(Words));
}

// out[j * out_stride + i] = in[i * in_stride + j] for i < rows, j < cols, in blocks of 8 where they fit.
LRQAT_INLINE void transpose_words(const std::uint32_t* in, std::int64_t rows, std::int64_t cols,
                                  std::int64_t in_stride, std::uint32_t* out, std::int64_t out_stride) {
  const std::int64_t full_rows = rows / 8 * 8, full_cols = cols / 8 * 8;
  for (std::int64_t j = 0; j < full_cols; j += 8) {
    for (std::int64_t i = 0; i < full_rows; i += 8) {
      transpose_8x8(in + i * in_stride + j, in_stride, out + j * out_stride + i, out_stride);
    }
  }
  for (std::int64_t j = 0; j < cols; ++j) {
    for (std::int64_t i = j < full_cols ? full_rows : 0; i < rows; ++i) {
      out[j * out_stride + i] = in[i * in_stride + j];
    }
  }
}

// out[j] = low[j] | high[j] << 16; high null: zeros.
LRQAT_INLINE void pair_row(const std::uint16_t* low, const std::uint16_t* high, std::int64_t count,
                           std::uint32_t* out) {
  if (high != nullptr) {
    for (std::int64_t j = 0; j < count; ++j)
      out[j] = static_cast<std::uint32_t>(low[j]) | (static_cast<std::uint32_t>(high[j]) << 16);
  } else {
    for (std::int64_t j = 0; j < count; ++j) out[j] = low[j];
  }
}

}  // namespace lrqat::kernels
