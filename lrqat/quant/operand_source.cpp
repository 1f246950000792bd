#include "lrqat/quant/operand_source.h"

namespace lrqat::quant {

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
  output.scaled_pairs = scaled_pairs;
  output.first_row = static_cast<std::int32_t>(row_begin);
  output.first_col = static_cast<std::int32_t>(col_begin);
  kernels::low_rank_tile(tile, rows, output);
}

}  // namespace lrqat::quant
