#include "lrqat/quant/gptq.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "lrqat/base/error.h"
#include "lrqat/quant/tile_math.h"

namespace lrqat::quant {
namespace {

constexpr std::int64_t kBlock = 128;  // columns whose errors reach the rest of the row in one product
constexpr std::int64_t kRowBytes = std::int64_t{32} << 20;  // of rows that are rounded at once

// The working state of some rows of one weight, columns in the factor's order.
struct Columns {
  at::Tensor weight;      // float32 [rows, K], compensated as the columns go by
  at::Tensor scale;       // float32 [rows, G] or [1, 1]
  at::Tensor zero_point;  // float32, as the scale
  at::Tensor group_of;    // int64 [K]: the scale of each column within its row
  at::Tensor unrounded;   // float32 [rows, K]
  at::Tensor error;       // float32 [rows, kBlock]
};

// Rounds columns [begin, end) of one row.
void round_row(Columns& columns, const at::Tensor& upper, const Grid& grid, std::int64_t row,
               std::int64_t begin, std::int64_t end) {
  const std::int64_t in_features = columns.weight.size(1);
  const std::int64_t scales = columns.scale.size(0) == 1 ? 0 : row * columns.scale.size(1);
  float* weight = columns.weight.mutable_data_ptr<float>() + row * in_features;
  float* unrounded = columns.unrounded.mutable_data_ptr<float>() + row * in_features;
  float* error = columns.error.mutable_data_ptr<float>() + row * kBlock;
  const float* scale = columns.scale.const_data_ptr<float>() + scales;
  const float* zero_point = columns.zero_point.const_data_ptr<float>() + scales;
  const auto* group_of = columns.group_of.const_data_ptr<std::int64_t>();
  const auto low = static_cast<float>(grid.quant_min), high = static_cast<float>(grid.quant_max);
  for (std::int64_t j = begin; j < end; ++j) {
    const float s = scale[group_of[j]], z = zero_point[group_of[j]];
    const float* factor = upper.const_data_ptr<float>() + j * in_features;
    unrounded[j] = weight[j] / s + z;
    const float value = s * (std::clamp(std::nearbyint(unrounded[j]), low, high) - z);
    const float spread = (weight[j] - value) / factor[j];
    error[j - begin] = spread;
    for (std::int64_t k = j + 1; k < end; ++k) weight[k] -= spread * factor[k];
  }
}

void round_columns(Columns& columns, const at::Tensor& upper, const Grid& grid) {
  const std::int64_t rows = columns.weight.size(0), in_features = columns.weight.size(1);
  for (std::int64_t begin = 0; begin < in_features; begin += kBlock) {
    const std::int64_t end = std::min(begin + kBlock, in_features);
    at::parallel_for(0, rows, 1, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t row = first; row < last; ++row) round_row(columns, upper, grid, row, begin, end);
    });
    if (end == in_features) break;
    columns.weight.slice(1, end).addmm_(columns.error.slice(1, 0, end - begin),
                                        upper.slice(0, begin, end).slice(1, end), 1.0, -1.0);
  }
}

struct Scales {
  at::Tensor scale;       // as the forward pass uses it
  at::Tensor zero_point;  // int8 or undefined
};

Columns in_order(const at::Tensor& weight, const Scales& scales, const GptqFactor& factor, std::int64_t begin,
                 std::int64_t end) {
  const at::Tensor rows = weight.slice(0, begin, end).index_select(1, factor.order);
  const at::Tensor scale = scale_rows(scales.scale, begin, end).contiguous();
  const at::Tensor zero = scales.zero_point.defined()
                              ? scale_rows(scales.zero_point, begin, end).to(at::kFloat).contiguous()
                              : at::zeros_like(scale);
  const at::Tensor group_of =
      scale.size(1) == 1 ? at::zeros_like(factor.order)
                         : at::div(factor.order, weight.size(1) / scale.size(1), "floor").contiguous();
  return {
      rows, scale, zero, group_of, at::empty_like(rows), at::empty({end - begin, kBlock}, rows.options())};
}

// --- the factor. Blocks of the matrix are worked on in its own memory; what is copied is of their size.

constexpr std::int64_t kFactorBlock = 256;   // rows and columns of a diagonal block
constexpr std::int64_t kUpdateBlock = 1024;  // columns of the remaining triangle that one product updates

template <typename Visit>
void for_each_block(std::int64_t size, std::int64_t block, const Visit& visit) {
  for (std::int64_t begin = 0; begin < size; begin += block) visit(begin, std::min(begin + block, size));
}

at::Tensor block_of(const at::Tensor& matrix, std::int64_t row_begin, std::int64_t row_end,
                    std::int64_t col_begin, std::int64_t col_end) {
  return matrix.slice(0, row_begin, row_end).slice(1, col_begin, col_end);
}

// Rows and columns in another order.
void reorder(const at::Tensor& matrix, const at::Tensor& order) {
  for (const std::int64_t dim : {0, 1}) {
    for_each_block(matrix.size(0), kFactorBlock, [&](std::int64_t begin, std::int64_t end) {
      const at::Tensor part = matrix.slice(dim, begin, end);
      part.copy_(part.index_select(1 - dim, order));
    });
  }
}

// R⁻¹ of a small h = R·Rᵀ, R upper triangular: with J the reversal of rows or columns, J·h·J = L·Lᵀ gives
// R⁻¹ = J·L⁻¹·J. In float64.
at::Tensor inverse_root(const at::Tensor& h) {
  const auto [lower, info] = at::linalg_cholesky_ex(h.to(at::kDouble).flip({0, 1}), false, false);
  if (info.item<int>() != 0) {
    fail(
        "the calibration inputs are too alike for GPTQ: more text (`calibration-tokens`) or a larger "
        "`gptq-damping` is needed");
  }
  return at::linalg_solve_triangular(lower, at::eye(h.size(0), lower.options()), /*upper=*/false)
      .flip({0, 1});
}

// h = R·Rᵀ becomes R above its diagonal blocks, the inverses of R's diagonal blocks in them, zero below: from
// the last block column to the first.
void factor_in_place(const at::Tensor& h) {
  const std::int64_t size = h.size(0), last = (size - 1) / kFactorBlock * kFactorBlock;
  for (std::int64_t begin = last; begin >= 0; begin -= kFactorBlock) {
    const std::int64_t end = std::min(begin + kFactorBlock, size);
    const at::Tensor diagonal = block_of(h, begin, end, begin, end),
                     above = block_of(h, 0, begin, begin, end);
    diagonal.copy_(inverse_root(diagonal));
    if (begin == 0) break;
    above.copy_(at::mm(above, diagonal.t()));
    for_each_block(begin, kUpdateBlock, [&](std::int64_t first, std::int64_t stop) {
      block_of(h, 0, stop, first, stop)
          .addmm_(above.slice(0, 0, stop), above.slice(0, first, stop).t(), 1.0, -1.0);
    });
  }
  at::Tensor(h).triu_();
}

// What factor_in_place() left becomes R⁻¹, block column by block column: those before it are done.
void invert_in_place(const at::Tensor& r) {
  for_each_block(r.size(0), kFactorBlock, [&](std::int64_t begin, std::int64_t end) {
    const at::Tensor diagonal = block_of(r, begin, end, begin, end);
    for_each_block(begin, kUpdateBlock, [&](std::int64_t first, std::int64_t stop) {
      const at::Tensor sum =
          at::mm(block_of(r, first, stop, first, begin), block_of(r, first, begin, begin, end));
      block_of(r, first, stop, begin, end).copy_(at::mm(sum, diagonal).neg_());
    });
  });
}

}  // namespace

GptqFactor GptqFactor::from_hessian(at::Tensor hessian, double damping, bool by_activation) {
  LRQAT_CHECK(hessian.dim() == 2 && hessian.size(0) == hessian.size(1) &&
              hessian.scalar_type() == at::kFloat);
  const at::Tensor h = hessian.to(at::kCPU).contiguous();
  const auto [low, high] = h.aminmax();  // they carry every NaN and infinity
  if (!std::isfinite(low.item<float>()) || !std::isfinite(high.item<float>()))
    fail("the calibration text gives activations that are not finite numbers");
  at::Tensor diagonal = h.diagonal();
  diagonal.masked_fill_(diagonal.eq(0.0), 1.0);
  const at::Tensor order = by_activation ? at::argsort(diagonal, /*stable=*/true, -1, /*descending=*/true)
                                         : at::arange(h.size(0), at::kLong);
  diagonal.add_(damping * diagonal.mean(at::kDouble).item<double>());
  if (by_activation) reorder(h, order);
  // U of H⁻¹ = Uᵀ·U without forming H⁻¹: H = R·Rᵀ with R upper triangular, U = R⁻¹.
  factor_in_place(h);
  invert_in_place(h);
  return {order, h};
}

at::Tensor float_values(const RoundedWeight& start, at::ScalarType storage) {
  const QuantizedWeight& rounded = start.rounded;
  const at::Tensor& per_scale = rounded.scale;
  at::Tensor out = at::empty_like(start.unrounded);
  const auto fill = [&](std::int64_t begin, std::int64_t end) {
    const at::Tensor scale = rows_of(per_scale, begin, end);
    const at::Tensor zero_point = rounded.zero_point.defined()
                                      ? rows_of(rounded.zero_point, begin, end).to(at::kFloat)
                                      : at::zeros_like(scale);
    const at::Tensor codes = grouped(rounded.weight_int.slice(0, begin, end).to(at::kFloat), per_scale);
    const at::Tensor weight =
        (grouped(start.unrounded.slice(0, begin, end), per_scale) - zero_point).mul_(scale);
    const at::Tensor again = (weight.to(storage).to(at::kFloat) / scale + zero_point)
                                 .clamp_(rounded.grid.quant_min, rounded.grid.quant_max);
    // Nearer to a tie than rounding errors of the methods' own arithmetic counts as wrong, too.
    const at::Tensor wrong = (again - codes).abs_().gt(0.499);
    grouped(out.slice(0, begin, end), per_scale)
        .copy_(at::where(wrong, (codes - zero_point).mul_(scale), weight));
  };
  for_each_tile(out.size(0), out.size(1), fill, out.device());
  return out;
}

RoundedWeight gptq(const std::string& name, const at::Tensor& weight, const GptqFactor& factor,
                   const QuantSpec& spec, const InitialRange& range) {
  spec.granularity.check(name, weight.size(1));
  check_finite(name, weight);
  LRQAT_CHECK(factor.order.size(0) == weight.size(1), name);
  const at::Tensor values = weight.to(at::kCPU).contiguous();
  const QuantRange found = range.of(values, spec);
  const Scales scales{ScaleParameter(found.scale, spec.scale).effective(), found.zero_point(spec.grid)};
  const at::Tensor unrounded = at::empty_like(values);
  const at::Tensor codes = at::empty(values.sizes(), values.options().dtype(at::kChar));
  std::int64_t clipped = 0;
  const std::int64_t rows = std::max<std::int64_t>(kRowBytes / (4 * values.size(1)), 64);
  for_each_block(values.size(0), rows, [&](std::int64_t begin, std::int64_t end) {
    Columns columns = in_order(values, scales, factor, begin, end);
    round_columns(columns, factor.upper, spec.grid);
    // Back to the columns' own places.
    const at::Tensor own = unrounded.slice(0, begin, end).index_copy_(1, factor.order, columns.unrounded);
    const at::Tensor whole = own.round();
    const at::Tensor inside = whole.clamp(spec.grid.quant_min, spec.grid.quant_max);
    clipped += inside.ne(whole).sum().item<std::int64_t>();
    codes.slice(0, begin, end).copy_(inside);
  });
  const auto device = weight.device();
  QuantizedWeight rounded{spec.grid, spec.granularity, codes.to(device), scales.scale.to(device),
                          static_cast<double>(clipped) / static_cast<double>(codes.numel())};
  if (scales.zero_point.defined()) rounded.zero_point = scales.zero_point.to(device);
  return {std::move(rounded), unrounded.to(device)};
}

}  // namespace lrqat::quant
