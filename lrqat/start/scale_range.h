// Scales below the smallest number of their type would all be that number, and the layer would round to
// zeros.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "lrqat/quant/range_estimator.h"

namespace lrqat::start {

inline constexpr double kMostDead = 0.01;  // of a layer's scales that may be at an end of their type

// What no scale is below, whatever its parameter says (quant/scale_parameter.h); 0: nothing holds it.
float smallest_scale(const quant::ScaleOptions& options);

// Error naming the layer, the scales that its weights [N, K] ask for and the settings that hold them. A few
// dead rows among others, which lose nothing, are no reason.
void check_scale_range(const quant::QuantSpec& spec, const std::string& layer, const at::Tensor& weight);

}  // namespace lrqat::start
