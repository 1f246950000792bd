// Ŵ in blocks as the right operand of block products (block_product.h): made from many threads at once,
// straight from the stored form, without tensors. N out_features, K in_features.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <limits>
#include <vector>

#include "lrqat/kernels/low_rank_tile.h"

namespace lrqat::ops {

// Clipped entries by blocks of columns: list i holds those of the i-th block, rows ascending.
struct ClippedLists {
  std::int64_t most = std::numeric_limits<std::int64_t>::max();  // that are wanted
  std::vector<std::vector<kernels::ClippedEntry>> lists{};
  bool complete = true;  // false: there are more than `most`, and the lists are empty
};

struct OperandSource {
  // The whole weight, [N, K]; on the CPU.
  kernels::LowRankTile weight;
  kernels::ScaleView scale;
  bool scaled_pairs = false;  // bfloat16 operands hold s·q, rounded: where a row has several scales

  // Rows and columns of Ŵ in the forms that `output` has pointers for.
  void make(std::int64_t row_begin, std::int64_t row_end, std::int64_t col_begin, std::int64_t col_end,
            kernels::TileOutput output) const;

  // Rows [row_begin, row_end) as a weight of its own.
  OperandSource rows(std::int64_t row_begin, std::int64_t row_end) const;

  // What bfloat16 products of this operand must be multiplied by, float32 [N]; undefined: nothing.
  at::Tensor row_scale;
  // The gradient of its parameters asks for the clipped entries where there are not more than these; 0:
  // never.
  std::int64_t most_clipped = 0;
  std::vector<at::Tensor> storage;  // what the pointers above point into
};

}  // namespace lrqat::ops
