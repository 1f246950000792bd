// What the backward pass of a linear layer y = x Ŵᵀ has, and dL/dŴ = dyᵀ x in pieces that are used up at
// once. T tokens, N out_features, K in_features.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "lrqat/ops/clipped_entries.h"
#include "lrqat/ops/small_product.h"

namespace lrqat::ops {

struct LinearGradient {
  at::Tensor x;            // [T, K], of the compute type
  at::Tensor grad_output;  // dL/dy, float32 [T, N]
  at::Tensor operand;      // dL/dy of the compute type; in bfloat16 multiplied by the weight's row_scale
  at::Tensor output;       // y without bias, float32 [T, N]
  const ClippedEntries* clipped = nullptr;  // of Ŵ, where they are known already
  OperandForms* forms = nullptr;            // of x, where other linears read it too
  bool scaled_operand = false;              // the weight has a row_scale
};

// Visits dL/dŴ in tiles of whole rows, in order: visit(row_begin, row_end, tile), tile float32 [rows, K],
// which may be overwritten.
void for_each_gradient_tile(const LinearGradient& linear,
                            const std::function<void(std::int64_t, std::int64_t, const at::Tensor&)>& visit);

// A block of dL/dŴ in scratch memory of the calling thread, on the CPU.
struct GradientBlock {
  std::int64_t row_begin, row_end, col_begin, col_end;
  float* values;  // [rows, cols], contiguous; may be overwritten
};

// Visits the blocks of dL/dŴ from several threads, all blocks of a row on one thread, columns ascending.
// grad_columns = columns_operand of grad [T, N]; x_rows = rows_operand of x [T, K]. Blocks end at multiples
// of `col_multiple` or at K.
void for_each_gradient_block(const at::Tensor& grad_columns, const at::Tensor& x_rows,
                             std::int64_t in_features, std::int64_t col_multiple,
                             const std::function<void(const GradientBlock&)>& visit);

// dL/dŴ by block products: grad [T, N], x [T, K], both float32 or both bfloat16; x_rows = rows_operand of x.
class GradientRows {
 public:
  // width: columns of a product; 0: such that the threads share one product well.
  GradientRows(const at::Tensor& grad, const at::Tensor& x_rows, std::int64_t width = 0);
  // Rows [begin, end), float32 [end - begin, K].
  at::Tensor rows(std::int64_t begin, std::int64_t end) const;
  // All rows from several threads, as many at a time as the cache holds: visit(begin, end, rows), rows
  // [end - begin, K] in scratch memory of the calling thread, which may be overwritten.
  void for_each(const std::function<void(std::int64_t, std::int64_t, float*)>& visit) const;

 private:
  // Of one panel, on the calling thread; out: its first column of the first row.
  void multiply(std::int64_t begin, std::int64_t end, std::size_t panel, float* out) const;

  at::Tensor columns_;              // columns_operand of grad
  std::int64_t width_;              // of a panel
  std::vector<at::Tensor> panels_;  // rows_operand of x in blocks of columns
  std::int64_t in_features_;
};

// Of a linear on the CPU, where block_products() of its type; for rows that threads make each for itself.
GradientRows gradient_rows_of(const LinearGradient& linear);

}  // namespace lrqat::ops
