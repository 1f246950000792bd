#include "lrqat/quant/operand_source.h"

#include <ATen/ATen.h>

namespace lrqat::quant {

OperandSource OperandSource::rows(std::int64_t row_begin, std::int64_t row_end) const {
  OperandSource part = *this;
  part.weight.phi.data = static_cast<const std::uint8_t*>(weight.phi.data) + row_begin * weight.phi.row_bytes;
  part.weight.rows = row_end - row_begin;
  if (weight.rank > 0) part.weight.lora_a += row_begin * weight.rank;
  part.scale.data += row_begin * scale.row_stride;
  if (scale.zero_point != nullptr) part.scale.zero_point += row_begin * scale.row_stride;
  if (row_scale.defined()) part.row_scale = row_scale.slice(0, row_begin, row_end);
  return part;
}

void OperandSource::make(std::int64_t row_begin, std::int64_t row_end, std::int64_t col_begin,
                         std::int64_t col_end, kernels::TileOutput output) const {
  kernels::LowRankTile tile = weight;
  tile.phi.data = static_cast<const std::uint8_t*>(weight.phi.data) + row_begin * weight.phi.row_bytes;
  tile.rows = row_end - row_begin;
  tile.cols = col_end - col_begin;
  tile.col_begin = col_begin;
  tile.lora_b_stride = weight.cols;
  if (weight.rank > 0) tile.lora_a = weight.lora_a + row_begin * weight.rank;
  kernels::ScaleView rows = scale;
  rows.data += row_begin * scale.row_stride;
  if (rows.zero_point != nullptr) rows.zero_point += row_begin * scale.row_stride;
  output.scaled_pairs = scaled_pairs;
  output.first_row = static_cast<std::int32_t>(row_begin);
  output.first_col = static_cast<std::int32_t>(col_begin);
  kernels::low_rank_tile(tile, rows, output);
}

}  // namespace lrqat::quant
