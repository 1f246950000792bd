#include "lrqat/ops/weight_gradient.h"

#include <algorithm>

#include "lrqat/ops/block_core.h"
#include "lrqat/ops/cpu_backend.h"
#include "lrqat/ops/matrix_source.h"

namespace lrqat::ops {

void for_each_gradient_tile(const LinearGradient& linear,
                            const std::function<void(std::int64_t, std::int64_t, const at::Tensor&)>& visit) {
  const GradientRowsOf rows = backend_of(linear.x).gradient_rows(linear);
  for_each_tile(
      linear.grad_output.size(1), linear.x.size(1),
      [&](std::int64_t begin, std::int64_t end) { visit(begin, end, rows(begin, end)); }, linear.x.device());
}

namespace {

GradientRows products_of(const LinearGradient& linear, std::int64_t width) {
  OperandForms own(linear.x), &forms = linear.forms != nullptr ? *linear.forms : own;
  const at::Tensor grad =
      linear.scaled_operand ? in_compute_type(linear.grad_output, compute_of(linear.x)) : linear.operand;
  return {grad, forms.rows(), width};
}

}  // namespace

GradientRowsOf CpuBackend::gradient_rows(const LinearGradient& linear) const {
  if (!block_products(compute_of(linear.x))) return Backend::gradient_rows(linear);
  const GradientRows products = products_of(linear, /*width=*/0);
  return [products](std::int64_t begin, std::int64_t end) { return products.rows(begin, end); };
}

void for_each_gradient_block(const at::Tensor& grad_columns, const at::Tensor& x_rows,
                             std::int64_t in_features, std::int64_t col_multiple,
                             const std::function<void(const GradientBlock&)>& visit) {
  const std::int64_t n_all = grad_columns.size(0), k_all = in_features;
  constexpr std::int64_t kCols = 256;
  const std::int64_t cols = std::max<std::int64_t>(kCols / col_multiple, 1) * col_multiple;
  with_operand(x_rows.scalar_type(), [&](auto types) {
    using Types = decltype(types);
    const std::int64_t tokens = grad_columns.size(1) * Types::kPack;
    const auto* a = data_of<typename Types::Left>(grad_columns);
    const auto panels = column_panels(x_rows, cols);
    for_product_pieces<Types>(n_all, piece_size(n_all, kWidth), [&](std::int64_t n0, std::int64_t n1) {
      std::vector<float> memory((n1 - n0) * std::min(cols, k_all));
      for (std::int64_t k0 = 0; k0 < k_all; k0 += cols) {
        const std::int64_t k1 = std::min(k0 + cols, k_all), width = k1 - k0;
        const at::Tensor& panel = panels[k0 / cols];
        const auto* b = data_of<typename Types::Right>(panel);
        multiply_blocks<Types>(n1 - n0, width, tokens, a + n0 * tokens, tokens, b, panel.stride(0),
                               memory.data(), width, false);
        visit({n0, n1, k0, k1, memory.data()});
      }
    });
  });
}

GradientRows gradient_rows_of(const LinearGradient& linear) {
  return products_of(linear, equal_piece(linear.x.size(1), kWidth));
}

GradientRows::GradientRows(const at::Tensor& grad, const at::Tensor& x_rows, std::int64_t width)
    : columns_(columns_operand(grad)),
      width_(width > 0 ? width : piece_size(x_rows.size(1), kWidth)),
      panels_(column_panels(x_rows, width_)),
      in_features_(x_rows.size(1)) {}

void GradientRows::multiply(std::int64_t begin, std::int64_t end, std::size_t panel, float* out) const {
  const at::Tensor& right = panels_[panel];
  with_operand(right.scalar_type(), [&](auto types) {
    using Types = decltype(types);
    const std::int64_t tokens = columns_.size(1) * Types::kPack;
    multiply_blocks<Types>(end - begin, right.size(1), tokens,
                           data_of<typename Types::Left>(columns_) + begin * tokens, tokens,
                           data_of<typename Types::Right>(right), right.stride(0), out, in_features_, false);
  });
}

at::Tensor GradientRows::rows(std::int64_t begin, std::int64_t end) const {
  at::Tensor out = at::empty({end - begin, in_features_}, at::TensorOptions(at::kFloat));
  auto* values = out.mutable_data_ptr<float>();
  with_operand(panels_.front().scalar_type(), [&](auto types) {
    for_product_pieces<decltype(types)>(in_features_, width_, [&](std::int64_t k0, std::int64_t) {
      multiply(begin, end, k0 / width_, values + k0);
    });
  });
  return out;
}

void GradientRows::for_each(const std::function<void(std::int64_t, std::int64_t, float*)>& visit) const {
  constexpr std::int64_t kValues = 1 << 17;  // 512 KiB
  const std::int64_t most = std::clamp<std::int64_t>(kValues / in_features_, 16, kWidth);
  with_operand(panels_.front().scalar_type(), [&](auto types) {
    const std::int64_t rows = columns_.size(0);
    for_product_pieces<decltype(types)>(
        rows, piece_size(rows, most), [&](std::int64_t begin, std::int64_t end) {
          thread_local std::vector<float> memory;
          float* values = scratch(memory, (end - begin) * in_features_);
          for (std::size_t panel = 0; panel < panels_.size(); ++panel)
            multiply(begin, end, panel, values + static_cast<std::int64_t>(panel) * width_);
          visit(begin, end, values);
        });
  });
}

}  // namespace lrqat::ops
