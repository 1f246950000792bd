// What a recipe leaves to the model: "auto" becomes a value before anything is prepared or saved.
#pragma once

#include "lrqat/base/progress.h"
#include "lrqat/model/decoder.h"
#include "lrqat/train/recipe.h"

namespace lrqat::train {

// Error where an override names no linear of the model, or where they skip all of them.
void check_overrides(const Recipe& recipe, const model::Decoder& decoder);
// Sizes that are left open: what fits into minutes, and into the model.
void fit_windows(Recipe& recipe, const formats::ModelConfig& config);

// The recipe with a granularity for every linear of the model: of the integers that it has, where training
// starts from them, else what the target (`for`) is best with. Linears that need another one than most get it
// as an override. Says what was chosen. Error, before any work, where the target holds no such linear.
// `decoder`: the model with its own weights.
Recipe fit_to_model(const Recipe& recipe, const model::Decoder& decoder, ProgressReporter& progress);

// Error where a linear of the model cannot have what the recipe says: a granularity that does not divide its
// rows, a rank that adds nothing, overrides that name no linear or skip them all.
void check_fits_model(const Recipe& recipe, const model::Decoder& decoder);

}  // namespace lrqat::train
