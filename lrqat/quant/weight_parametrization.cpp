#include "lrqat/quant/weight_parametrization.h"

#include <ATen/ATen.h>

#include <cmath>

#include "lrqat/base/error.h"

namespace lrqat::quant {

void WeightParametrization::add_tile_gradient(std::int64_t, std::int64_t, const at::Tensor&,
                                              at::TensorList grads) const {
  LRQAT_CHECK(grads.empty(), "a parametrisation with parameters must say how their gradients are made");
}

bool WeightParametrization::add_gradient_from_activations(const ops::LinearGradient&, at::TensorList) const {
  return false;
}

QuantizedWeight WeightParametrization::convert() const {
  LRQAT_CHECK(false, "convert() of a weight that is not quantized");
  return {};
}

std::optional<QuantizedWeight> WeightParametrization::stored_integers() const {
  if (!is_quantized()) return std::nullopt;
  return convert();
}

// The extremes carry every NaN and infinity, and need no temporary of the weight's size.
void check_finite(const std::string& name, const at::Tensor& weight) {
  const auto [low, high] = weight.aminmax();
  if (!std::isfinite(low.item<float>()) || !std::isfinite(high.item<float>())) {
    fail(name, ": the weight has values that are not finite");
  }
}

}  // namespace lrqat::quant
