// The big matrix products of a linear layer over blocks of Ŵ that are made, multiplied while they lie in the
// second cache, and dropped. Each thread makes its own blocks; nothing of size N×K is written. The products
// of blocks are oneDNN's, through ATen (the only file that calls at::native::cpublas); where the processor or
// the build has none, block_products() is false and callers use at::mm over tiles. T tokens, N out_features,
// K in_features, R rank.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "lrqat/ops/compute_type.h"
#include "lrqat/ops/operand_source.h"

namespace lrqat::ops {

// True where the functions below work for operands of this type: checked once by a small product with a known
// result.
bool block_products(ComputeType compute);
// What an operand was made for: bfloat16 where it holds that, else float32.
ComputeType compute_of(const at::Tensor& operand);
// For tests: false turns them off.
void allow_block_products(bool allow);

// x Ŵᵀ, float32 [T, N]. x [T, K], float32 or bfloat16, contiguous. N and K even for bfloat16.
at::Tensor block_multiply(const at::Tensor& x, const OperandSource& weight);
// The same into `out`, which may be a strided view: columns adjacent.
void block_multiply_out(const at::Tensor& x, const OperandSource& weight, const at::Tensor& out);

// grad Ŵ, float32 [T, K]; grad [T, N], float32, or bfloat16 and multiplied by row_scale already. `clipped`,
// where not null, receives the clipped entries of Ŵ, or stops as soon as there are more than it wants.
at::Tensor block_multiply_transposed(const at::Tensor& grad, const OperandSource& weight,
                                     ClippedLists* clipped);

// out = grad Ŵ, or out += grad Ŵ; grad and out may be strided views with adjacent columns.
void block_multiply_transposed_out(const at::Tensor& grad, const OperandSource& weight, const at::Tensor& out,
                                   bool add, ClippedLists* clipped);

// The clipped entries alone, where there are at most `most`.
ClippedLists clipped_entries(const OperandSource& weight, std::int64_t most);

// x · small, float32 [T, R]: x [T, K] float32 or bfloat16 with adjacent columns, small [K, R] float32
// (rounded to x's type). K even for bfloat16.
at::Tensor multiply_small(const at::Tensor& x, const at::Tensor& small);

// x [T, K] as the right operand of products that sum over its rows: x itself where it is float32, pairs of
// rows where it is bfloat16 (int32 [ceil(T / 2), K]).
at::Tensor rows_operand(const at::Tensor& x);

// xᵀ of x [T, K]: float32 [K, T], or int32 [K, ceil(T / 2)] of bfloat16 pairs, which read as bfloat16
// [K, 2 ceil(T / 2)] are the transposed matrix.
at::Tensor columns_operand(const at::Tensor& x);

// x [T, K] in the forms above, each made when it is first asked for: linears that read the same x share them.
class OperandForms {
 public:
  explicit OperandForms(at::Tensor x) : x_(std::move(x)) {}
  const at::Tensor& rows();
  const at::Tensor& columns();

 private:
  at::Tensor x_, rows_, columns_;
};

// xᵀ · small, float32 [K, R]: x [T, K] with adjacent columns, small [T, R] float32 (rounded to bfloat16 where
// x is). In bfloat16 it reads columns = columns_operand(x), in float32 x itself and `columns` may be
// undefined.
at::Tensor multiply_transposed_small(const at::Tensor& x, const at::Tensor& columns, const at::Tensor& small);

// A block of dL/dŴ = gradᵀ x in scratch memory of the calling thread.
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

// dL/dŴ = gradᵀ x in tiles of whole rows: grad [T, N], x [T, K], on the CPU, both float32 or both bfloat16;
// x_rows = rows_operand of x.
class GradientRows {
 public:
  GradientRows(const at::Tensor& grad, const at::Tensor& x_rows);
  // Rows [begin, end), float32 [end - begin, K].
  at::Tensor rows(std::int64_t begin, std::int64_t end) const;

 private:
  at::Tensor columns_;              // columns_operand of grad
  std::vector<at::Tensor> panels_;  // rows_operand of x in blocks of columns
  std::int64_t in_features_;
};

// c [m, n] = a [m, k] · b [k, n] (+ c), row-major float32 with the strides given. Where
// block_products(float32).
void small_block_product(std::int64_t m, std::int64_t n, std::int64_t k, const float* a, std::int64_t lda,
                         const float* b, std::int64_t ldb, float* c, std::int64_t ldc, bool add);

}  // namespace lrqat::ops
