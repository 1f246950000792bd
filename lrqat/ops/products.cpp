#include "lrqat/ops/products.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "lrqat/kernels/token_sums.h"
#include "lrqat/ops/block_product.h"

namespace lrqat::ops {
namespace {

std::optional<BlockSource> blocks_of(const StoredWeight& stored, ComputeType compute) {
  return block_products(compute) ? BlockSource::of(stored, compute) : std::nullopt;
}

// The values of a tile as a weight of their own.
std::optional<BlockSource> blocks_of(const WeightTile& tile, ComputeType compute) {
  if (!block_products(compute)) return std::nullopt;
  return BlockSource::of(stored_float(tile.values.contiguous()), compute);
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
  if (const auto blocks = blocks_of(tile, compute)) {
    block_multiply(x, *blocks, out);
  } else {
    multiply_plainly(x, tile.values, out);
  }
  if (tile.row_scale.defined()) out.mul_(tile.row_scale);
}

void multiply_tile_transposed(const at::Tensor& grad, const WeightTile& tile, ComputeType compute,
                              at::Tensor& out, bool add) {
  at::Tensor scaled = tile.row_scale.defined() ? grad * tile.row_scale : grad;
  scaled = scaled.to(tile.values.scalar_type());
  if (const auto blocks = blocks_of(tile, compute)) {
    block_multiply_transposed(scaled, *blocks, out, add, nullptr);
  } else {
    multiply_back_plainly(scaled, tile.values, out, add);
  }
}

}  // namespace

void OperandRows::multiply(const at::Tensor& x, at::Tensor out) const {
  if (blocks_) {
    block_multiply(x, *blocks_, out);
    return;
  }
  multiply_plainly(x, tile_.values, out);
  if (tile_.row_scale.defined()) out.mul_(tile_.row_scale);
}

void OperandRows::multiply_transposed(at::Tensor grad, at::Tensor out, bool add) const {
  const bool narrow = compute_ == ComputeType::bfloat16;
  if (blocks_) {
    if (narrow && blocks_->row_scale.defined()) grad.mul_(blocks_->row_scale);
    block_multiply_transposed(narrow ? grad.to(at::kBFloat16) : grad, *blocks_, out, add, nullptr);
    return;
  }
  if (tile_.row_scale.defined()) grad.mul_(tile_.row_scale);
  multiply_back_plainly(grad.to(tile_.values.scalar_type()), tile_.values, out, add);
}

WeightOperand::WeightOperand(const MatrixSource& weight, ComputeType compute)
    : weight_(weight), compute_(compute) {
  if (!block_products(compute)) return;
  if (const auto stored = weight.stored_form()) blocks_ = blocks_of(*stored, compute);
}

at::Tensor WeightOperand::multiply(const at::Tensor& x) const {
  const at::Tensor left = x.to(scalar_type(compute_)).contiguous();
  at::Tensor out = at::empty({x.size(0), weight_.out_features()}, x.options().dtype(at::kFloat));
  if (blocks_) {
    block_multiply(left, *blocks_, out);
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
  if (!scales_gradient()) return grad.to(at::kBFloat16);
  const auto* scale = blocks_->row_scale.const_data_ptr<float>();
  at::Tensor operand = at::empty(grad.sizes(), grad.options().dtype(at::kBFloat16));
  at::parallel_for(0, grad.size(0), 16, [&](std::int64_t begin, std::int64_t end) {
    kernels::scale_to_bfloat16(grad.const_data_ptr<float>(), scale, begin, end, grad.size(1),
                               static_cast<std::uint16_t*>(operand.mutable_data_ptr()));
  });
  return operand;
}

void WeightOperand::multiply_transposed(const at::Tensor& grad, const at::Tensor& operand, at::Tensor out,
                                        bool add, ClippedEntries* clipped) const {
  if (blocks_) {
    block_multiply_transposed(operand, *blocks_, out, add, clipped);
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
  if (blocks_) return {BlockSource(blocks_->stored.rows(row_begin, row_end)), {}, compute_};
  return {std::nullopt, weight_.make_tile(row_begin, row_end, compute_), compute_};
}

}  // namespace lrqat::ops
