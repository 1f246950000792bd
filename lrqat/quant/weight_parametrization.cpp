#include "lrqat/quant/weight_parametrization.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "lrqat/base/error.h"

namespace lrqat::quant {

QuantizedWeight around_zero(const std::string& layer, const std::string& format, QuantizedWeight weight) {
  if (weight.offset.defined()) {
    fail(layer, ": has a learned float offset, which ", format,
         " does not hold; the converted folder (lrqat convert, safetensors) does, and no integer format of "
         "this "
         "program. Train with --learn-offset false for a model that every format holds");
  }
  if (!weight.zero_point.defined()) return weight;
  const at::Tensor& zero = weight.zero_point;
  const at::Tensor codes =
      (weight.weight_int.view({weight.weight_int.size(0), zero.size(1), -1}).to(at::kShort) -
       zero.to(at::kShort).unsqueeze(2))
          .view(weight.weight_int.sizes());
  const auto [low, high] = codes.aminmax();
  for (const int num_bits : {2, 3, 4, 8}) {
    const Grid grid = Grid::signed_symmetric(num_bits);
    if (low.item<int>() < grid.quant_min || high.item<int>() > grid.quant_max) continue;
    weight.grid = grid;
    weight.weight_int = codes.to(at::kChar);
    weight.zero_point = at::Tensor();
    return weight;
  }
  fail(layer, ": codes less their zero points reach from ", low.item<int>(), " to ", high.item<int>(),
       ", more than the 8 bits of ", format, "; the converted folder (lrqat convert) holds them");
}

void WeightParametrization::add_tile_gradient(std::int64_t, std::int64_t, const at::Tensor&,
                                              at::TensorList grads) const {
  LRQAT_CHECK(grads.empty(), "a parametrisation with parameters must say how their gradients are made");
}

bool WeightParametrization::add_gradient_from_activations(const at::Tensor&, const at::Tensor&,
                                                          const at::Tensor&, at::TensorList) const {
  return false;
}

QuantizedWeight WeightParametrization::convert() const {
  LRQAT_CHECK(false, "convert() of a weight that is not quantized");
  return {};
}

std::int64_t tile_rows(std::int64_t in_features) {
  constexpr std::int64_t kTileBytes = 1 << 20;
  const std::int64_t rows = kTileBytes / (4 * std::max<std::int64_t>(in_features, 1));
  return std::clamp<std::int64_t>(rows / 32 * 32, 64, 512);
}

// The extremes carry every NaN and infinity, and need no temporary of the weight's size.
void check_finite(const std::string& name, const at::Tensor& weight) {
  const auto [low, high] = weight.aminmax();
  if (!std::isfinite(low.item<float>()) || !std::isfinite(high.item<float>())) {
    fail(name, ": the weight has values that are not finite");
  }
}

}  // namespace lrqat::quant
