// The readable form of low_rank_tile.cpp: element by element, the formulas as they stand in the header. Slow.
#include <algorithm>
#include <cmath>

#include "lrqat/base/half.h"
#include "lrqat/kernels/low_rank_tile.h"

namespace lrqat::kernels {
namespace {

float phi_value(const PhiView& phi, std::int64_t n, std::int64_t k) {
  const auto* row = static_cast<const std::uint8_t*>(phi.data) + n * phi.row_bytes;
  switch (phi.type) {
    case PhiType::float32:
      return reinterpret_cast<const float*>(row)[k];
    case PhiType::bfloat16:
      return bfloat16_to_float(reinterpret_cast<const std::uint16_t*>(row)[k]);
    case PhiType::float16:
      return float16_to_float(reinterpret_cast<const std::uint16_t*>(row)[k]);
    case PhiType::int8:
      return static_cast<float>(reinterpret_cast<const std::int8_t*>(row)[k]) * phi.unit;
    case PhiType::int4: {
      const int nibble = k % 2 == 0 ? row[k / 2] & 15 : row[k / 2] >> 4;
      return static_cast<float>(nibble - 8) * phi.unit;
    }
  }
  return 0.0F;
}

float low_rank_term(const LowRankTile& t, std::int64_t n, std::int64_t k) {
  const std::int64_t stride = t.lora_b_stride == 0 ? t.cols : t.lora_b_stride;
  float sum = 0.0F;
  for (std::int64_t r = 0; r < t.rank; ++r)
    sum = std::fma(t.lora_a[n * t.rank + r], t.lora_b[r * stride + t.col_begin + k], sum);
  if (!t.bfloat16_product) return t.lora_scaling * sum;
  const float product = bfloat16_to_float(float_to_bfloat16(sum));
  return bfloat16_to_float(float_to_bfloat16(t.lora_scaling * product));
}

}  // namespace

void low_rank_tile_ref(const LowRankTile& t, const ScaleView& scale, const TileOutput& out) {
  const auto half = [](std::uint32_t& word, std::int64_t position, float value) {
    const std::uint32_t bits = float_to_bfloat16(value);
    word = position % 2 == 0 ? (word & 0xffff0000U) | bits : (word & 0xffffU) | (bits << 16);
  };
  for (std::int64_t n = 0; n < t.rows; ++n) {
    if (out.clipped != nullptr) out.clipped[n] = 0;
    for (std::int64_t k = 0; k < t.cols; ++k) {
      const float phi = phi_value(t.phi, n, t.col_begin + k);
      const float low_rank = low_rank_term(t, n, k);
      const float rounded = t.round_low_rank ? phi + std::rint(low_rank) : std::rint(phi + low_rank);
      const float q =
          t.is_float ? (t.rank == 0 ? phi : phi + low_rank) : std::clamp(rounded, t.quant_min, t.quant_max);
      const bool inside = t.is_float || (t.quant_min <= rounded && rounded <= t.quant_max);
      const std::int64_t at = n * t.cols + k;
      const std::int64_t group =
          n * scale.row_stride + (t.col_begin + k) / std::max<std::int64_t>(scale.group_size, 1);
      const float shifted = scale.zero_point == nullptr ? q : q - static_cast<float>(scale.zero_point[group]);
      const auto scaled = [&] { return scale.data[group] * shifted; };
      if (out.codes != nullptr) out.codes[at] = static_cast<std::int8_t>(q);
      if (out.mask != nullptr) out.mask[at] = inside ? 1 : 0;
      if (out.clipped != nullptr) out.clipped[n] += inside ? 0 : 1;
      if (out.bfloat16_codes != nullptr) out.bfloat16_codes[at] = float_to_bfloat16(q);
      if (out.values != nullptr) out.values[n * out.values_stride + k] = scaled();
      if (out.transposed != nullptr) out.transposed[k * out.transposed_stride + n] = scaled();
      if (out.transposed_pairs != nullptr)
        half(out.transposed_pairs[k / 2 * out.transposed_stride + n], k,
             out.scaled_pairs ? scaled() : shifted);
      if (out.row_pairs != nullptr)
        half(out.row_pairs[n / 2 * out.row_pairs_stride + k], n, out.scaled_pairs ? scaled() : shifted);
      if (out.clipped_entries != nullptr && !inside) {
        out.clipped_entries->push_back(
            {out.first_row + static_cast<std::int32_t>(n), out.first_col + static_cast<std::int32_t>(k)});
      }
    }
  }
}

void low_rank_tile_gradient_ref(std::int64_t rows, std::int64_t cols, const std::int8_t* codes,
                                const std::uint8_t* mask, const ScaleView& scale, float* grad,
                                float* grad_scale) {
  const std::int64_t groups = cols / scale.group_size;
  std::fill_n(grad_scale, rows * groups, 0.0F);
  for (std::int64_t n = 0; n < rows; ++n) {
    for (std::int64_t k = 0; k < cols; ++k) {
      const std::int64_t at = n * cols + k;
      const std::int64_t group = k / scale.group_size;
      grad_scale[n * groups + group] += grad[at] * static_cast<float>(codes[at]);
      grad[at] = grad[at] * scale.data[n * scale.row_stride + group] * static_cast<float>(mask[at]);
    }
  }
}

}  // namespace lrqat::kernels
