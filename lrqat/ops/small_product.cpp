#include "lrqat/ops/small_product.h"

#include "lrqat/kernels/token_sums.h"
#include "lrqat/ops/block_core.h"

namespace lrqat::ops {
namespace {

constexpr std::int64_t kPiece = 512;  // rows of the result that a thread makes at once, at most

}  // namespace

const at::Tensor& OperandForms::rows() {
  if (!rows_.defined()) rows_ = rows_operand(x_);
  return rows_;
}

const at::Tensor& OperandForms::columns() {
  if (!columns_.defined()) columns_ = columns_operand(x_);
  return columns_;
}

at::Tensor rows_operand(const at::Tensor& x) {
  if (x.scalar_type() == at::kFloat) return x;
  const std::int64_t rows = x.size(0), cols = x.size(1), words = (rows + 1) / 2;
  at::Tensor pairs = at::empty({words, cols}, x.options().dtype(at::kInt));
  at::parallel_for(0, words, 8, [&](std::int64_t begin, std::int64_t end) {
    kernels::pair_rows(data_of<std::uint16_t>(x), rows, cols, begin, end,
                       static_cast<std::uint32_t*>(pairs.mutable_data_ptr()));
  });
  return pairs;
}

at::Tensor columns_operand(const at::Tensor& x) {
  const bool pairs = x.scalar_type() == at::kBFloat16;
  const std::int64_t rows = x.size(0), cols = x.size(1);
  at::Tensor columns =
      at::empty({cols, pairs ? (rows + 1) / 2 : rows}, x.options().dtype(pairs ? at::kInt : at::kFloat));
  auto* out = static_cast<std::uint32_t*>(columns.mutable_data_ptr());
  at::parallel_for(0, (cols + 63) / 64, 1, [&](std::int64_t first, std::int64_t last) {
    const std::int64_t begin = first * 64, end = std::min(last * 64, cols);
    if (pairs) {
      kernels::transpose_pairs(data_of<std::uint16_t>(x), rows, cols, begin, end, out);
    } else {
      kernels::transpose(data_of<std::uint32_t>(x), rows, cols, begin, end, out);
    }
  });
  return columns;
}

at::Tensor multiply_small(const at::Tensor& x, const at::Tensor& small) {
  const std::int64_t tokens = x.size(0), k_all = x.size(1), rank = small.size(1), x_stride = x.stride(0);
  if (!block_products(compute_of(x))) return at::mm(x, small.to(x.scalar_type())).to(at::kFloat);
  const at::Tensor right = rows_operand(small.to(x.scalar_type()).contiguous());
  at::Tensor product_of = at::empty({tokens, rank}, x.options().dtype(at::kFloat));
  auto* out = product_of.mutable_data_ptr<float>();
  with_operand(x.scalar_type(), [&](auto types) {
    using Types = decltype(types);
    const auto* left = data_of<typename Types::Left>(x);
    const auto* b = data_of<typename Types::Right>(right);
    for_product_pieces<Types>(tokens, piece_size(tokens, kPiece), [&](std::int64_t t0, std::int64_t t1) {
      for (std::int64_t r0 = 0; r0 < rank; r0 += kWidth) {
        multiply_blocks<Types>(t1 - t0, std::min(kWidth, rank - r0), k_all, left + t0 * x_stride, x_stride,
                               b + r0, rank, out + t0 * rank + r0, rank, false);
      }
    });
  });
  return product_of;
}

namespace {

// Left operand xᵀ, right operand small.
at::Tensor multiply_columns(const at::Tensor& columns, const at::Tensor& small) {
  using Types = Operand<ComputeType::bfloat16>;
  const std::int64_t k_all = columns.size(0), rank = small.size(1), tokens = columns.size(1) * Types::kPack;
  const auto panels = column_panels(rows_operand(small.to(at::kBFloat16)), kWidth);
  at::Tensor sum = at::empty({k_all, rank}, small.options().dtype(at::kFloat));
  auto* out = sum.mutable_data_ptr<float>();
  const auto* left = data_of<Types::Left>(columns);
  for_product_pieces<Types>(k_all, piece_size(k_all, kWidth), [&](std::int64_t k0, std::int64_t k1) {
    for (std::int64_t r0 = 0; r0 < rank; r0 += kWidth) {
      const at::Tensor& panel = panels[r0 / kWidth];
      multiply_blocks<Types>(k1 - k0, panel.size(1), tokens, left + k0 * tokens, tokens,
                             data_of<Types::Right>(panel), panel.stride(0), out + k0 * rank + r0, rank,
                             false);
    }
  });
  return sum;
}

// Left operand smallᵀ, right operand x: no transposition of x.
at::Tensor multiply_rows(const at::Tensor& x, const at::Tensor& small) {
  using Types = Operand<ComputeType::float32>;
  const std::int64_t k_all = x.size(1), rank = small.size(1), tokens = x.size(0);
  const at::Tensor left = small.t().contiguous();
  const std::int64_t piece = piece_size(k_all, kWidth);
  const auto panels = column_panels(x, piece);
  at::Tensor sum = at::empty({rank, k_all}, small.options());
  auto* out = sum.mutable_data_ptr<float>();
  for_product_pieces<Types>(k_all, piece, [&](std::int64_t k0, std::int64_t k1) {
    const at::Tensor& panel = panels[k0 / piece];
    multiply_blocks<Types>(rank, k1 - k0, tokens, left.const_data_ptr<float>(), tokens,
                           panel.const_data_ptr<float>(), panel.stride(0), out + k0, k_all, false);
  });
  return sum.t().contiguous();
}

}  // namespace

at::Tensor multiply_transposed_small(const at::Tensor& x, const at::Tensor& columns,
                                     const at::Tensor& small) {
  if (x.scalar_type() == at::kBFloat16) return multiply_columns(columns, small);
  return block_products(ComputeType::float32) ? multiply_rows(x, small) : at::mm(x.t(), small);
}

}  // namespace lrqat::ops
