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

// The working state of one weight, columns in the factor's order.
struct Columns {
  at::Tensor weight;      // float32 [N, K], compensated as the columns go by
  at::Tensor scale;       // float32 [N, G] or [1, 1]
  at::Tensor zero_point;  // float32, as the scale
  at::Tensor group_of;    // int64 [K]: the scale of each column within its row
  at::Tensor unrounded;   // float32 [N, K]
  at::Tensor error;       // float32 [N, kBlock]
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

Scales estimate(const at::Tensor& weight, const GptqOptions& options, const RangeEstimator& estimator) {
  const auto effective = [&](const at::Tensor& scale) {
    return ScaleParameter(scale, options.scale).effective();
  };
  if (options.symmetric)
    return {effective(estimator.estimate(weight, options.grid, options.granularity)), {}};
  const AsymmetricRange range = estimator.estimate_asymmetric(weight, options.grid, options.granularity);
  return {effective(range.scale), range.zero_point(options.grid)};
}

Columns in_order(const at::Tensor& weight, const Scales& scales, const GptqFactor& factor) {
  const std::int64_t group_size = weight.size(1) / scales.scale.size(1);
  const at::Tensor zero = scales.zero_point.defined() ? scales.zero_point.to(at::kFloat).contiguous()
                                                      : at::zeros_like(scales.scale);
  const at::Tensor group_of = scales.scale.size(1) == 1
                                  ? at::zeros_like(factor.order)
                                  : at::div(factor.order, group_size, "floor").contiguous();
  return {weight.index_select(1, factor.order),
          scales.scale.contiguous(),
          zero,
          group_of,
          at::empty_like(weight),
          at::empty({weight.size(0), kBlock}, weight.options())};
}

}  // namespace

GptqFactor GptqFactor::from_hessian(const at::Tensor& hessian, double damping, bool by_activation) {
  LRQAT_CHECK(hessian.dim() == 2 && hessian.size(0) == hessian.size(1));
  const at::Tensor h = hessian.to(at::kCPU, at::kDouble, /*non_blocking=*/false, /*copy=*/true);
  if (!h.isfinite().all().item<bool>())
    fail("the calibration text gives activations that are not finite numbers");
  at::Tensor diagonal = h.diagonal();
  diagonal.masked_fill_(diagonal.eq(0.0), 1.0);
  at::Tensor order = by_activation ? at::argsort(diagonal, /*stable=*/true, -1, /*descending=*/true)
                                   : at::arange(h.size(0), at::kLong);
  diagonal.add_(damping * diagonal.mean().item<double>());
  // U of H⁻¹ = Uᵀ·U without forming H⁻¹: with J the reversal of rows or columns, J·H·J = L·Lᵀ gives
  // H = R·Rᵀ with R = J·L·J upper triangular, and U = R⁻¹ = J·L⁻¹·J.
  const at::Tensor reversed = order.flip(0);
  const auto [lower, info] =
      at::linalg_cholesky_ex(h.index_select(0, reversed).index_select(1, reversed), false, false);
  if (info.item<int>() != 0) fail("the calibration inputs are too alike for GPTQ: more text is needed");
  const at::Tensor inverse =
      at::linalg_solve_triangular(lower, at::eye(h.size(0), h.options()), /*upper=*/false);
  return {order, inverse.flip({0, 1}).to(at::kFloat).contiguous()};
}

at::Tensor float_start(const RoundedStart& start, at::ScalarType storage) {
  const QuantizedWeight& rounded = start.rounded;
  const at::Tensor scale = rows_of(rounded.scale, 0, rounded.weight_int.size(0));
  const at::Tensor zero_point =
      rounded.zero_point.defined() ? rows_of(rounded.zero_point.to(at::kFloat), 0, rounded.weight_int.size(0))
                                   : at::zeros_like(scale);
  const at::Tensor codes = grouped(rounded.weight_int.to(at::kFloat), rounded.scale);
  const at::Tensor weight = (grouped(start.unrounded, rounded.scale) - zero_point).mul_(scale);
  const at::Tensor again = (weight.to(storage).to(at::kFloat) / scale + zero_point)
                               .clamp_(rounded.grid.quant_min, rounded.grid.quant_max);
  // Nearer to a tie than rounding errors of the methods' own arithmetic counts as wrong, too.
  const at::Tensor wrong = (again - codes).abs_().gt(0.499);
  return at::where(wrong, (codes - zero_point).mul_(scale), weight).view(start.unrounded.sizes());
}

RoundedStart gptq(const std::string& name, const at::Tensor& weight, const GptqFactor& factor,
                  const GptqOptions& options, const RangeEstimator& estimator) {
  options.granularity.check(name, weight.size(1));
  check_finite(name, weight);
  LRQAT_CHECK(factor.order.size(0) == weight.size(1), name);
  const at::Tensor values = weight.to(at::kCPU).contiguous();
  const Scales scales = estimate(values, options, estimator);
  Columns columns = in_order(values, scales, factor);
  round_columns(columns, factor.upper, options.grid);
  // Back to the columns' own places.
  const at::Tensor unrounded = columns.weight.index_copy_(1, factor.order, columns.unrounded);
  const at::Tensor whole = unrounded.round();
  const at::Tensor codes = whole.clamp(options.grid.quant_min, options.grid.quant_max);
  const double clipped =
      static_cast<double>(codes.ne(whole).sum().item<std::int64_t>()) / static_cast<double>(codes.numel());
  const auto device = weight.device();
  QuantizedWeight rounded{options.grid, options.granularity, codes.to(at::kChar).to(device),
                          scales.scale.to(device), clipped};
  if (scales.zero_point.defined()) rounded.zero_point = scales.zero_point.to(device);
  return {std::move(rounded), unrounded.to(device)};
}

}  // namespace lrqat::quant
