// Scales too small for their type: below its smallest number they would all be that number, and the layer
// would round to zeros.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "lrqat/train/recipe.h"

namespace lrqat::train {

// Error naming the layer, the scales that its weights [N, K] ask for and the settings that hold them. A few
// dead rows among others, which lose nothing, are no reason.
void check_scale_range(const Recipe& recipe, const std::string& layer, const at::Tensor& weight);

}  // namespace lrqat::train
