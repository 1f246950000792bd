// What a recipe trains of a student, and at which rates.
#pragma once

#include <vector>

#include "lrqat/model/decoder.h"
#include "lrqat/nn/optimizer.h"
#include "lrqat/train/recipe.h"

namespace lrqat::train {

// The student's parameters with the recipe's rates: first adapters and weights (lr, weight_decay), then
// scales (scale_lr), then norms, head and embedding (float_lr). Each of these three is a clip group of its
// own.
std::vector<nn::TrainedParameter> trained_parameters(const Recipe& recipe, const model::Decoder& student);

}  // namespace lrqat::train
