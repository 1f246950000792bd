// A recipe for a large model and many steps, cut down to what runs in minutes or seconds: the same method on
// the same grid, fewer and smaller steps. For trying a recipe out, not for its results.
#pragma once

#include <string>

#include "lrqat/formats/model_config.h"
#include "lrqat/train/recipe.h"

namespace lrqat::train {

std::string known_scales();  // "small, tiny"

// Cuts steps, batch, sequence length, rank, calibration and evaluation down to at most what the scale allows.
// Keeps lora-alpha / rank, learning rates and the schedule's shape. UsageError where the scale is not known.
void scale_recipe(Recipe& recipe, const std::string& scale);

// Makes groups smaller (halving, then whole channels) until they divide every linear's inputs. Large models'
// recipes say group:128, which small models' 576 inputs do not hold.
void fit_groups(Recipe& recipe, const formats::ModelConfig& config);

}  // namespace lrqat::train
