#include "lrqat/kernels/low_rank_tile.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "lrqat/base/half.h"
#include "lrqat/kernels/target.h"

namespace lrqat::kernels {
namespace {

// A block of kRows x kCols accumulators stays in registers (16 vectors of 16 floats with AVX-512).
constexpr std::int64_t kRows = 4;
constexpr std::int64_t kCols = 64;

// 2^112 moves a float16 exponent, shifted into a float, to its place; subnormals come out right as well.
LRQAT_INLINE float decode_float16(std::uint16_t bits) {
  const float magnitude = std::bit_cast<float>(static_cast<std::uint32_t>(bits & 0x7fffU) << 13) * 0x1p112F;
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(magnitude) |
                              (static_cast<std::uint32_t>(bits & 0x8000U) << 16));
}

LRQAT_INLINE float round_to_bfloat16(float value) { return bfloat16_to_float(float_to_bfloat16(value)); }

LRQAT_INLINE void decode_int4(const std::uint8_t* row, std::int64_t col, std::int64_t count, float unit,
                              float* out) {
  if (col % 2 == 0 && count == kCols) {
    for (std::int64_t j = 0; j < kCols / 2; ++j) {
      const std::uint8_t byte = row[col / 2 + j];
      out[2 * j] = static_cast<float>(static_cast<int>(byte & 15U) - 8) * unit;
      out[2 * j + 1] = static_cast<float>(static_cast<int>(byte >> 4) - 8) * unit;
    }
    return;
  }
  for (std::int64_t j = 0; j < count; ++j) {
    const std::uint8_t byte = row[(col + j) / 2];
    out[j] = static_cast<float>(static_cast<int>((col + j) % 2 == 0 ? byte & 15U : byte >> 4) - 8) * unit;
  }
}

// Φ0[row, col … col + count) as float.
LRQAT_INLINE void decode_phi(const PhiView& phi, std::int64_t row, std::int64_t col, std::int64_t count,
                             float* out) {
  const auto* bytes = static_cast<const std::uint8_t*>(phi.data) + row * phi.row_bytes;
  switch (phi.type) {
    case PhiType::float32: {
      const float* in = reinterpret_cast<const float*>(bytes) + col;
      for (std::int64_t j = 0; j < count; ++j) out[j] = in[j];
      return;
    }
    case PhiType::bfloat16: {
      const auto* in = reinterpret_cast<const std::uint16_t*>(bytes) + col;
      for (std::int64_t j = 0; j < count; ++j) out[j] = bfloat16_to_float(in[j]);
      return;
    }
    case PhiType::float16: {
      const auto* in = reinterpret_cast<const std::uint16_t*>(bytes) + col;
      for (std::int64_t j = 0; j < count; ++j) out[j] = decode_float16(in[j]);
      return;
    }
    case PhiType::int8: {
      const auto* in = reinterpret_cast<const std::int8_t*>(bytes) + col;
      for (std::int64_t j = 0; j < count; ++j) out[j] = static_cast<float>(in[j]) * phi.unit;
      return;
    }
    case PhiType::int4:
      decode_int4(bytes, col, count, phi.unit, out);
      return;
  }
}

// acc[i][j] = Σ_r A[row + i, r] · B[r, col + j] for a full block.
LRQAT_INLINE void product_block(const LowRankTile& t, std::int64_t row, std::int64_t col,
                                float acc[kRows][kCols]) {
  const float* a = t.lora_a + row * t.rank;
  const float* b = t.lora_b + col;
  float acc0[kCols] = {}, acc1[kCols] = {}, acc2[kCols] = {}, acc3[kCols] = {};
  for (std::int64_t r = 0; r < t.rank; ++r) {
    const float a0 = a[r], a1 = a[t.rank + r], a2 = a[2 * t.rank + r], a3 = a[3 * t.rank + r];
#pragma GCC unroll 1
    for (std::int64_t j = 0; j < kCols; ++j) {
      const float bj = b[r * t.cols + j];
      acc0[j] = std::fma(a0, bj, acc0[j]);
      acc1[j] = std::fma(a1, bj, acc1[j]);
      acc2[j] = std::fma(a2, bj, acc2[j]);
      acc3[j] = std::fma(a3, bj, acc3[j]);
    }
  }
  for (std::int64_t j = 0; j < kCols; ++j) {
    acc[0][j] = acc0[j];
    acc[1][j] = acc1[j];
    acc[2][j] = acc2[j];
    acc[3][j] = acc3[j];
  }
}

// The same for the edges of a tile, one row at a time.
LRQAT_INLINE void product_row(const LowRankTile& t, std::int64_t row, std::int64_t col, std::int64_t count,
                              float* acc) {
  for (std::int64_t j = 0; j < count; ++j) acc[j] = 0.0F;
  for (std::int64_t r = 0; r < t.rank; ++r) {
    const float a = t.lora_a[row * t.rank + r];
    const float* b = t.lora_b + r * t.cols + col;
    for (std::int64_t j = 0; j < count; ++j) acc[j] = std::fma(a, b[j], acc[j]);
  }
}

// acc <- the rounded, unclipped grid value.
LRQAT_INLINE void round_block(const LowRankTile& t, const float* phi, std::int64_t count, float* acc) {
  if (t.bfloat16_product) {
    for (std::int64_t j = 0; j < count; ++j) {
      acc[j] = round_to_bfloat16(t.lora_scaling * round_to_bfloat16(acc[j]));
    }
  } else {
    for (std::int64_t j = 0; j < count; ++j) acc[j] = t.lora_scaling * acc[j];
  }
  if (t.round_low_rank) {
    for (std::int64_t j = 0; j < count; ++j) acc[j] = phi[j] + std::rint(acc[j]);
  } else {
    for (std::int64_t j = 0; j < count; ++j) acc[j] = std::rint(phi[j] + acc[j]);
  }
}

LRQAT_INLINE void scale_values(const ScaleView& scale, std::int64_t row, std::int64_t col, std::int64_t count,
                               const float* q, float* out) {
  const float* s = scale.data + row * scale.row_stride;
  for (std::int64_t j = 0; j < count;) {
    const std::int64_t group = (col + j) / scale.group_size;
    const std::int64_t end = std::min(count, (group + 1) * scale.group_size - col);
    const float factor = s[group];
    for (; j < end; ++j) out[j] = factor * q[j];
  }
}

LRQAT_INLINE void write_block(const LowRankTile& t, const ScaleView& scale, const TileOutput& out,
                              std::int64_t row, std::int64_t col, std::int64_t count, const float* rounded) {
  float q[kCols];
  for (std::int64_t j = 0; j < count; ++j) {
    const float low = rounded[j] < t.quant_min ? t.quant_min : rounded[j];
    q[j] = low > t.quant_max ? t.quant_max : low;
  }
  const std::int64_t at = row * t.cols + col;
  if (out.values != nullptr)
    scale_values(scale, row, col, count, q, out.values + row * out.values_stride + col);
  if (out.bfloat16_codes != nullptr) {
    for (std::int64_t j = 0; j < count; ++j) {
      out.bfloat16_codes[at + j] = static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(q[j]) >> 16);
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
}

}  // namespace

LRQAT_KERNEL
void low_rank_tile(const LowRankTile& tile, const ScaleView& scale, const TileOutput& output) {
  const LowRankTile t = tile;  // copies, so that stores through `output` cannot be taken to change them
  const TileOutput out = output;
  float acc[kRows][kCols];
  float phi[kCols];
  if (out.clipped != nullptr) {
    for (std::int64_t row = 0; row < t.rows; ++row) out.clipped[row] = 0;
  }
  for (std::int64_t col = 0; col < t.cols; col += kCols) {
    const std::int64_t count = std::min(kCols, t.cols - col);
    for (std::int64_t row = 0; row < t.rows; row += kRows) {
      const std::int64_t block = std::min(kRows, t.rows - row);
      if (block == kRows && count == kCols) {
        product_block(t, row, col, acc);
      } else {
        for (std::int64_t i = 0; i < block; ++i) product_row(t, row + i, col, count, acc[i]);
      }
      for (std::int64_t i = 0; i < block; ++i) {
        decode_phi(t.phi, row + i, col, count, phi);
        round_block(t, phi, count, acc[i]);
        write_block(t, scale, out, row + i, col, count, acc[i]);
      }
    }
  }
}

LRQAT_KERNEL
void low_rank_tile_gradient(std::int64_t rows, std::int64_t cols, const std::int8_t* codes,
                            const std::uint8_t* mask, const ScaleView& scale, float* grad,
                            float* grad_scale) {
  constexpr std::int64_t kLanes = 16;
  const std::int64_t groups = cols / scale.group_size;
  for (std::int64_t row = 0; row < rows; ++row) {
    const float* s = scale.data + row * scale.row_stride;
    for (std::int64_t begin = 0; begin < cols; begin += scale.group_size) {
      const std::int64_t end = std::min(cols, begin + scale.group_size);
      const float factor = s[begin / scale.group_size];
      const std::int8_t* q = codes + row * cols;
      const std::uint8_t* m = mask + row * cols;
      float* g = grad + row * cols;
      float lanes[kLanes] = {};
      std::int64_t k = begin;
      for (; k + kLanes <= end; k += kLanes) {
        for (std::int64_t j = 0; j < kLanes; ++j) {
          lanes[j] += g[k + j] * static_cast<float>(q[k + j]);
          g[k + j] = g[k + j] * factor * static_cast<float>(m[k + j]);
        }
      }
      for (std::int64_t j = 0; k < end; ++k, ++j) {
        lanes[j] += g[k] * static_cast<float>(q[k]);
        g[k] = g[k] * factor * static_cast<float>(m[k]);
      }
      float sum = 0.0F;
      for (const float lane : lanes) sum += lane;
      grad_scale[row * groups + begin / scale.group_size] = sum;
    }
  }
}

}  // namespace lrqat::kernels
