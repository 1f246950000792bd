// Ŵ in blocks as the right operand of block products (block_product.h), on the CPU: made from many threads at
// once, straight from the stored form, without tensors. N out_features, K in_features.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

#include "lrqat/kernels/low_rank_tile.h"
#include "lrqat/ops/compute_type.h"
#include "lrqat/ops/stored_weight.h"

namespace lrqat::ops {

// The kernels' view of a stored weight on the CPU, from its first row on. Valid as long as the tensors are.
kernels::LowRankTile kernel_view(const StoredWeight& weight);
// Of a scale, with its zero points where they are defined.
kernels::ScaleView scale_view(const at::Tensor& scale, const at::Tensor& zero_point,
                              std::int64_t in_features);

// The same from row_begin on.
void begin_at_row(std::int64_t row_begin, kernels::LowRankTile& weight, kernels::ScaleView& scale);

struct BlockSource {
  // Nothing where, for bfloat16, a side is odd.
  static std::optional<BlockSource> of(const StoredWeight& stored, ComputeType compute);
  explicit BlockSource(StoredWeight stored);

  std::int64_t out_features() const { return weight.rows; }
  std::int64_t in_features() const { return weight.cols; }
  // Rows and columns of Ŵ in the forms that `output` has pointers for.
  void make(std::int64_t row_begin, std::int64_t row_end, std::int64_t col_begin, std::int64_t col_end,
            kernels::TileOutput output) const;

  StoredWeight stored;  // owns what the views point into
  kernels::LowRankTile weight;
  kernels::ScaleView scale;
  bool scaled_pairs;     // bfloat16 operands hold s·q, rounded: where a row has several scales
  at::Tensor row_scale;  // what bfloat16 products must be multiplied by, float32 [N]; undefined: nothing
};

}  // namespace lrqat::ops
