// Φ0 from storage to float, for the kernels of this folder. Inlined into each of their targets.
#pragma once

#include <bit>
#include <cstdint>

#include "lrqat/base/half.h"
#include "lrqat/kernels/low_rank_tile.h"
#include "lrqat/kernels/target.h"

namespace lrqat::kernels {

// 2^112 moves a float16 exponent, shifted into a float, to its place; subnormals come out right as well.
LRQAT_INLINE float decode_float16(std::uint16_t bits) {
  const float magnitude = std::bit_cast<float>(static_cast<std::uint32_t>(bits & 0x7fffU) << 13) * 0x1p112F;
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(magnitude) |
                              (static_cast<std::uint32_t>(bits & 0x8000U) << 16));
}

LRQAT_INLINE void decode_int4(const std::uint8_t* row, std::int64_t col, std::int64_t count, float unit,
                              float* out) {
  std::int64_t j = 0;
  if (col % 2 == 0) {
    for (; j + 32 <= count; j += 32) {
      for (std::int64_t i = 0; i < 16; ++i) {
        const std::uint8_t byte = row[(col + j) / 2 + i];
        out[j + 2 * i] = static_cast<float>(static_cast<int>(byte & 15U) - 8) * unit;
        out[j + 2 * i + 1] = static_cast<float>(static_cast<int>(byte >> 4) - 8) * unit;
      }
    }
  }
  for (; j < count; ++j) {
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

}  // namespace lrqat::kernels
