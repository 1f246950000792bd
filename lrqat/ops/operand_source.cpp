#include "lrqat/ops/operand_source.h"

#include <ATen/ATen.h>

namespace lrqat::ops {
namespace {

// A weight's view becomes that of its rows from row_begin on.
void begin_at_row(std::int64_t row_begin, kernels::LowRankTile& weight, kernels::ScaleView& scale) {
  weight.phi.data = static_cast<const std::uint8_t*>(weight.phi.data) + row_begin * weight.phi.row_bytes;
  if (weight.rank > 0) weight.lora_a += row_begin * weight.rank;
  scale.data += row_begin * scale.row_stride;
  if (scale.zero_point != nullptr) scale.zero_point += row_begin * scale.row_stride;
}

}  // namespace

OperandSource OperandSource::rows(std::int64_t row_begin, std::int64_t row_end) const {
  OperandSource part = *this;
  begin_at_row(row_begin, part.weight, part.scale);
  part.weight.rows = row_end - row_begin;
  if (row_scale.defined()) part.row_scale = row_scale.slice(0, row_begin, row_end);
  return part;
}

void OperandSource::make(std::int64_t row_begin, std::int64_t row_end, std::int64_t col_begin,
                         std::int64_t col_end, kernels::TileOutput output) const {
  kernels::LowRankTile tile = weight;
  kernels::ScaleView scales = scale;
  begin_at_row(row_begin, tile, scales);
  tile.rows = row_end - row_begin;
  tile.cols = col_end - col_begin;
  tile.col_begin = col_begin;
  tile.lora_b_stride = weight.cols;
  output.scaled_pairs = scaled_pairs;
  output.first_row = static_cast<std::int32_t>(row_begin);
  output.first_col = static_cast<std::int32_t>(col_begin);
  kernels::low_rank_tile(tile, scales, output);
}

}  // namespace lrqat::ops
