// Products with a small factor, of rank R, and the forms of an operand that products which sum over tokens
// read: as block products on the CPU where it has them, else by at::mm. T tokens, K in_features, R rank.
#pragma once

#include <ATen/core/Tensor.h>

#include <utility>

#include "lrqat/ops/compute_type.h"

namespace lrqat::ops {

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

// x · small, float32 [T, R]: x [T, K] float32 or bfloat16 with adjacent columns, small [K, R] float32
// (rounded to x's type). K even for bfloat16.
at::Tensor multiply_small(const at::Tensor& x, const at::Tensor& small);

// xᵀ · small, float32 [K, R]: x [T, K] with adjacent columns, small [T, R] float32 (rounded to bfloat16 where
// x is). In bfloat16 it reads columns = columns_operand(x), in float32 x itself and `columns` may be
// undefined.
at::Tensor multiply_transposed_small(const at::Tensor& x, const at::Tensor& columns, const at::Tensor& small);

}  // namespace lrqat::ops
