#include "lrqat/quant/integer_weight.h"

#include <ATen/ATen.h>

#include "lrqat/base/error.h"
#include "lrqat/quant/scale_parameter.h"

namespace lrqat::quant {
namespace {

// Φ0 of integers: packed where the grid allows it. The codes themselves, so any float pass through it is
// exact.
Phi0 store_codes(const std::string& name, const QuantizedWeight& weight) {
  const auto shape = weight.granularity.scale_shape(weight.weight_int.size(0), weight.weight_int.size(1));
  weight.granularity.check(name, weight.weight_int.size(1));
  if (weight.scale.sizes() != at::IntArrayRef(shape)) {
    fail(name, ": scale has shape ", weight.scale.sizes(), ", expected [", shape[0], ", ", shape[1], "] for ",
         weight.granularity.name());
  }
  const auto [low, high] = weight.weight_int.aminmax();
  if (low.item<int>() < weight.grid.quant_min || high.item<int>() > weight.grid.quant_max) {
    fail(name, ": codes range from ", low.item<int>(), " to ", high.item<int>(), ", outside [",
         weight.grid.quant_min, ", ", weight.grid.quant_max, "] of ", weight.grid.num_bits, " bits");
  }
  return Phi0::store(weight.weight_int.to(at::kFloat), Downcast::integer, weight.grid);
}

}  // namespace

IntegerWeight::IntegerWeight(const std::string& name, const QuantizedWeight& weight)
    : grid_(weight.grid),
      granularity_(weight.granularity),
      phi_0_(store_codes(name, weight)),
      scale_(weight.scale.to(at::kFloat).contiguous()),
      clipped_fraction_(weight.clipped_fraction) {}

WeightTile IntegerWeight::make_tile(std::int64_t row_begin, std::int64_t row_end, ComputeType compute) const {
  return quantized_tile(phi_0_, {}, grid_, scale_, row_begin, row_end, compute);
}

std::optional<OperandSource> IntegerWeight::operand_source(ComputeType compute) const {
  return low_rank_operand(phi_0_, {}, grid_, scale_, compute);
}

QuantizedWeight IntegerWeight::convert() const {
  TileTensors tile = low_rank_tile(phi_0_, {}, grid_, scale_, 0, out_features(), {.codes = true});
  return {grid_, granularity_, std::move(tile.codes), scale_.clone(), clipped_fraction_};
}

std::int64_t IntegerWeight::resident_bytes() const {
  return static_cast<std::int64_t>(phi_0_.tensor().nbytes() + scale_.nbytes());
}

QuantizedWeight round_to_nearest(const std::string& name, const at::Tensor& weight, const Grid& grid,
                                 const Granularity& granularity, const RangeEstimator& estimator,
                                 const ScaleOptions& scale_options) {
  granularity.check(name, weight.size(1));
  check_finite(name, weight);
  const ScaleParameter start(estimator.estimate(weight, grid, granularity), scale_options);
  QuantizedWeight result{grid, granularity, at::empty(weight.sizes(), weight.options().dtype(at::kChar)),
                         start.effective(), 0.0};
  std::int64_t clipped = 0;
  for_each_tile(weight.size(0), weight.size(1), [&](std::int64_t begin, std::int64_t end) {
    const at::Tensor rounded = divide_rows_by_scale(weight, result.scale, begin, end).round_();
    const at::Tensor codes = rounded.clamp(grid.quant_min, grid.quant_max);
    clipped += codes.ne(rounded).sum().item<std::int64_t>();
    result.weight_int.slice(0, begin, end).copy_(codes);
  });
  result.clipped_fraction = static_cast<double>(clipped) / static_cast<double>(weight.numel());
  return result;
}

}  // namespace lrqat::quant
