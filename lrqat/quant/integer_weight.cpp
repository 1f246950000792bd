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
  const at::Tensor start = estimator.estimate(weight, grid, granularity).clamp_min(scale_options.floor);
  const at::Tensor scale = ScaleParameter(start, scale_options).effective();
  const at::Tensor rounded = divide_by_scale(weight, scale).round_();
  const at::Tensor codes = rounded.clamp(grid.quant_min, grid.quant_max);
  const double clipped = codes.ne(rounded).sum().item<double>() / static_cast<double>(weight.numel());
  return {grid, granularity, codes.to(at::kChar), scale, clipped};
}

}  // namespace lrqat::quant
