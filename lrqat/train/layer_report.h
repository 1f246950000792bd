// What training has done to each layer so far: its scales, the share of clipped weights, and how far the
// adapters have moved the weights, in steps of the grid (docs/method.md section 7).
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "lrqat/model/decoder.h"
#include "lrqat/train/recipe.h"

namespace lrqat::train {

// Of each quantized linear, by its name: "scale_mean", "clipped_fraction" (of the codes, now),
// "clipped_at_start" (of the float weights, where the method keeps none that could tell it later), and where
// the method has adapters inside of the rounding "update_mean" and "update_max", of |γAB| / s (LR-QAT:
// |γAB|).
using LayerReport = std::vector<std::pair<std::string, std::map<std::string, double>>>;
LayerReport report_layers(const Recipe& recipe, const model::Decoder& student);

}  // namespace lrqat::train
