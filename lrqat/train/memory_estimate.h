// The memory that a recipe needs at its peak, by part, from the shapes of the model: an upper estimate.
#pragma once

#include "lrqat/base/json.h"
#include "lrqat/formats/model_config.h"
#include "lrqat/quant/activation_options.h"
#include "lrqat/train/open_inputs.h"
#include "lrqat/train/train_step.h"

namespace lrqat::train {

// Bytes of each part, by name: {"phi_0": …, "adapters": …, "activations": …, …}. kept: what the recipe keeps
// of activations.
Json memory_parts(const TrainInputs& inputs, const KeptActivations& kept);

// Bytes a token that keys and values take where they are stored as what they are: codes with scale and zero
// point in 16 bits each for a token, or 16-bit floats.
double cache_bytes_per_token(const formats::ModelConfig& config, const quant::ActivationOptions& activations);

}  // namespace lrqat::train
