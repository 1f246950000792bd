// Static ranges of activations before training.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "lrqat/base/progress.h"
#include "lrqat/model/decoder.h"
#include "lrqat/train/packed_dataset.h"
#include "lrqat/train/recipe.h"

namespace lrqat::train {

// Runs work() with what passes the quantizers taken into their ranges; from then on they are trained where
// `learn`.
void observe_during(const std::vector<std::shared_ptr<quant::ActivationQuantizer>>& quantizers, bool learn,
                    const std::function<void()>& work);

// Runs recipe.activation_batches batches of the data through the prepared model, so that every static
// quantizer takes them into its range; trained from then on where the recipe says so.
void observe_activations(model::Decoder& decoder, const PackedDataset& dataset, const Recipe& recipe,
                         ProgressReporter& progress);

}  // namespace lrqat::train
