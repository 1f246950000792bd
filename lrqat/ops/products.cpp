#include "lrqat/ops/products.h"

#include <ATen/ATen.h>

#include "lrqat/ops/backend.h"

namespace lrqat::ops {
namespace {

// The values of a tile as a weight of their own; null: at::mm is the best product.
std::shared_ptr<const StoredOperand> operand_of(const WeightTile& tile, ComputeType compute) {
  return backend_of(tile.values).stored_operand(stored_float(tile.values.contiguous()), compute);
}

// out = x valuesᵀ by at::mm, which in bfloat16 goes through a scratch of its own type.
void multiply_plainly(const at::Tensor& x, const at::Tensor& values, at::Tensor& out) {
  if (x.scalar_type() == at::kBFloat16) {
    out.copy_(at::mm(x, values.t()));
  } else {
    at::mm_out(out, x, values.t());
  }
}

// out = grad values, or out += it.
void multiply_back_plainly(const at::Tensor& grad, const at::Tensor& values, at::Tensor& out, bool add) {
  if (values.scalar_type() == at::kBFloat16) {
    const at::Tensor product = at::mm(grad, values);
    add ? out.add_(product) : out.copy_(product);
  } else if (add) {
    out.addmm_(grad, values);
  } else {
    at::mm_out(out, grad, values);
  }
}

void multiply_tile(const at::Tensor& x, const WeightTile& tile, ComputeType compute, at::Tensor out) {
  if (const auto operand = operand_of(tile, compute)) {
    operand->multiply(x, out);
  } else {
    multiply_plainly(x, tile.values, out);
  }
  if (tile.row_scale.defined()) out.mul_(tile.row_scale);
}

void multiply_tile_transposed(const at::Tensor& grad, const WeightTile& tile, ComputeType compute,
                              at::Tensor& out, bool add) {
  at::Tensor scaled = tile.row_scale.defined() ? grad * tile.row_scale : grad;
  scaled = scaled.to(tile.values.scalar_type());
  if (const auto operand = operand_of(tile, compute)) {
    operand->multiply_transposed(scaled, out, add, nullptr);
  } else {
    multiply_back_plainly(scaled, tile.values, out, add);
  }
}

}  // namespace

at::Tensor in_compute_type(const at::Tensor& x, ComputeType compute) {
  if (x.scalar_type() == scalar_type(compute)) return x.contiguous();
  return compute == ComputeType::bfloat16 ? backend_of(x).to_bfloat16(x) : x.to(at::kFloat).contiguous();
}

void OperandRows::multiply(const at::Tensor& x, at::Tensor out) const {
  if (stored_) {
    stored_->multiply(x, out);
    return;
  }
  multiply_plainly(x, tile_.values, out);
  if (tile_.row_scale.defined()) out.mul_(tile_.row_scale);
}

void OperandRows::multiply_transposed(at::Tensor grad, at::Tensor out, bool add) const {
  const bool narrow = compute_ == ComputeType::bfloat16;
  if (stored_) {
    if (narrow && stored_->row_scale().defined()) grad.mul_(stored_->row_scale());
    stored_->multiply_transposed(narrow ? grad.to(at::kBFloat16) : grad, out, add, nullptr);
    return;
  }
  if (tile_.row_scale.defined()) grad.mul_(tile_.row_scale);
  multiply_back_plainly(grad.to(tile_.values.scalar_type()), tile_.values, out, add);
}

WeightOperand::WeightOperand(const MatrixSource& weight, ComputeType compute)
    : weight_(weight), compute_(compute) {
  if (const auto stored = weight.stored_form())
    stored_ = backend_of(stored->phi_0).stored_operand(*stored, compute);
}

at::Tensor WeightOperand::multiply(const at::Tensor& x) const {
  const at::Tensor left = in_compute_type(x, compute_);
  at::Tensor out = at::empty({x.size(0), weight_.out_features()}, x.options().dtype(at::kFloat));
  if (stored_) {
    stored_->multiply(left, out);
    return out;
  }
  for_each_tile(
      weight_.out_features(), weight_.in_features(),
      [&](std::int64_t begin, std::int64_t end) {
        multiply_tile(left, weight_.make_tile(begin, end, compute_), compute_, out.slice(1, begin, end));
      },
      x.device());
  return out;
}

at::Tensor WeightOperand::gradient_operand(const at::Tensor& grad) const {
  if (compute_ == ComputeType::float32) return grad;
  return scales_gradient() ? stored_->scaled_gradient(grad) : in_compute_type(grad, compute_);
}

void WeightOperand::multiply_transposed(const at::Tensor& grad, const at::Tensor& operand, at::Tensor out,
                                        bool add, ClippedEntries* clipped) const {
  if (stored_) {
    stored_->multiply_transposed(operand, out, add, clipped);
    return;
  }
  if (clipped != nullptr) *clipped = {.most = 0, .complete = false};
  for_each_tile(
      weight_.out_features(), weight_.in_features(),
      [&](std::int64_t begin, std::int64_t end) {
        multiply_tile_transposed(grad.slice(1, begin, end), weight_.make_tile(begin, end, compute_), compute_,
                                 out, add || begin > 0);
      },
      grad.device());
}

OperandRows WeightOperand::rows(std::int64_t row_begin, std::int64_t row_end) const {
  if (stored_) return {stored_->rows(row_begin, row_end), {}, compute_};
  return {nullptr, weight_.make_tile(row_begin, row_end, compute_), compute_};
}

}  // namespace lrqat::ops
