// Granularity "auto": which weights share a scale, by what the run is for and what the model's integers have.
#pragma once

#include "lrqat/base/progress.h"
#include "lrqat/model/decoder.h"
#include "lrqat/train/recipe.h"

namespace lrqat::train {

// fit_to_model's part.
void fit_granularity(Recipe& recipe, const model::Decoder& decoder, ProgressReporter& progress);

}  // namespace lrqat::train
