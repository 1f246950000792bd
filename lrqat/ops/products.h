// The products of a linear layer with its weight, y = x Ŵᵀ and dL/dx = dL/dy Ŵ, on any device: from the
// stored form where the device has such products (on the CPU over blocks, block_product.h), else over tiles
// of rows (MatrixSource::make_tile) by at::mm. T tokens, N out_features, K in_features.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>

#include "lrqat/ops/clipped_entries.h"
#include "lrqat/ops/matrix_source.h"

namespace lrqat::ops {

// x as an operand of products: in the compute type, contiguous.
at::Tensor in_compute_type(const at::Tensor& x, ComputeType compute);

// A weight as it is stored, as the right operand of products that a device makes from that form.
class StoredOperand {
 public:
  virtual ~StoredOperand() = default;

  // What dL/dy must be multiplied by before the product back in bfloat16, float32 [N]; undefined: nothing.
  virtual const at::Tensor& row_scale() const = 0;
  // dL/dy · row_scale in bfloat16.
  virtual at::Tensor scaled_gradient(const at::Tensor& grad) const = 0;
  // out = x Ŵᵀ, as block_multiply (block_product.h).
  virtual void multiply(const at::Tensor& x, const at::Tensor& out) const = 0;
  // out = grad Ŵ, or out += it, as block_multiply_transposed.
  virtual void multiply_transposed(const at::Tensor& grad, const at::Tensor& out, bool add,
                                   ClippedEntries* clipped) const = 0;
  virtual std::shared_ptr<const StoredOperand> rows(std::int64_t row_begin, std::int64_t row_end) const = 0;
};

// Some rows of Ŵ, made once for a product there and one back.
class OperandRows {
 public:
  OperandRows(std::shared_ptr<const StoredOperand> stored, WeightTile tile, ComputeType compute)
      : stored_(std::move(stored)), tile_(std::move(tile)), compute_(compute) {}

  // out = x Ŵ[rows]ᵀ, float32 [T, rows], which may be a strided view. x [T, K] of the compute type.
  void multiply(const at::Tensor& x, at::Tensor out) const;
  // out = grad Ŵ[rows], or out += it, float32 [T, K]. grad float32 [T, rows], which is overwritten.
  void multiply_transposed(at::Tensor grad, at::Tensor out, bool add) const;

 private:
  std::shared_ptr<const StoredOperand> stored_;
  WeightTile tile_;  // where that is null
  ComputeType compute_;
};

// A weight as the right operand of products in one compute type.
class WeightOperand {
 public:
  WeightOperand(const MatrixSource& weight,
                ComputeType compute);  // `weight` must stay

  // x Ŵᵀ, float32 [T, N]. x [T, K].
  at::Tensor multiply(const at::Tensor& x) const;

  // dL/dy, float32 [T, N], as the left operand of the product back: of the compute type, in bfloat16
  // multiplied by the scales of codes.
  at::Tensor gradient_operand(const at::Tensor& grad) const;
  // Whether it has such scales.
  bool scales_gradient() const { return stored_ && stored_->row_scale().defined(); }
  // out = dL/dy Ŵ, or out += it, float32 [T, K]; operand = gradient_operand(grad). `clipped`, where not null,
  // receives the clipped entries, where they are found on the way.
  void multiply_transposed(const at::Tensor& grad, const at::Tensor& operand, at::Tensor out, bool add,
                           ClippedEntries* clipped = nullptr) const;

  OperandRows rows(std::int64_t row_begin, std::int64_t row_end) const;

 private:
  const MatrixSource& weight_;
  ComputeType compute_;
  std::shared_ptr<const StoredOperand> stored_;  // null: products go over tiles
};

}  // namespace lrqat::ops
