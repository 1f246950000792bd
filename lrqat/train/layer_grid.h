// The linears of a model as a recipe quantizes them, each with its own grid, and which weights of a linear
// may share a scale.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "lrqat/model/decoder.h"
#include "lrqat/train/recipe.h"
#include "lrqat/train/target.h"

namespace lrqat::train {

// A linear that takes part in quantization.
struct Layer {
  const nn::Linear* linear;
  Recipe own;  // the recipe of this linear
  LinearGrid grid;

  std::int64_t weights() const { return grid.out_features * grid.in_features; }
};
using Layers = std::vector<Layer>;

// The grid that `own` asks for on this linear.
LinearGrid grid_of(const Recipe& own, const nn::Linear& linear);

// In model order, without those that stay float.
Layers layers_of(const Recipe& recipe, const model::Decoder& decoder);

// The fewest patterns of overrides that name these linears of the decoder and no others.
std::vector<std::string> patterns_of(const std::set<std::string>& names, const model::Decoder& decoder);
// The first of them, for messages.
std::string names_of(const Layers& layers, const model::Decoder& decoder);

bool divides(const quant::Granularity& granularity, const Layer& layer);
// Whether the target holds the linear's integers with these scales.
bool is_held(const Target& target, const quant::Granularity& granularity, const Layer& layer);
// What suits all of these linears: the granularity of integers that can be kept, whatever the target, else
// the target's best. Nothing: the target does not even hold a scale for each channel.
std::optional<quant::Granularity> choose_granularity(const Target& target, const Layers& layers);

}  // namespace lrqat::train
