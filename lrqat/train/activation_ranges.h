// Static ranges of activations before training.
#pragma once

#include <cstdint>

#include "lrqat/base/progress.h"
#include "lrqat/data/dataset.h"
#include "lrqat/model/decoder.h"
#include "lrqat/train/recipe.h"

namespace lrqat::train {

// Runs recipe.activation_batches batches of the data through the prepared model, so that every static
// quantizer takes them into its range; trained from then on where the recipe says so.
void observe_activations(model::Decoder& decoder, const data::PackedDataset& dataset, const Recipe& recipe,
                         ProgressReporter& progress);

}  // namespace lrqat::train
