// What a start from calibration text takes on this machine, measured on the model's first block.
#pragma once

#include "lrqat/model/decoder.h"
#include "lrqat/model/source_weight.h"
#include "lrqat/train/packed_dataset.h"
#include "lrqat/train/recipe.h"

namespace lrqat::train {

// Seconds of the whole start. Prepares the first block a few times, on drawn hidden states of one or two
// calibration batches and, block-wise, with a few steps: what is fixed, what grows with the text and what
// with the steps is then multiplied. The decoder, the float model of `source`, has its own weights
// afterwards. text: null where it is not known.
double measure_text_start(const Recipe& recipe, model::Decoder& decoder, const formats::WeightSource& source,
                          const PackedDataset* text);

}  // namespace lrqat::train
