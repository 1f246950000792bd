// `target-bpw`: a width of its own for every linear, so that the file of `for` takes at most so many bits a
// weight of the linears and the model loses least.
#pragma once

#include "lrqat/base/progress.h"
#include "lrqat/model/decoder.h"
#include "lrqat/train/packed_dataset.h"
#include "lrqat/train/recipe.h"

namespace lrqat::train {

// Writes bits and granularity of every linear into the recipe's overrides; those that an override gives bits
// already keep them, so a recipe that was fitted once stays as it is and costs no measurement. Says what was
// chosen. What is chosen from: 2, 3, 4 and 8 bits with the groups that the target is best with (or the
// recipe's own), as far as it holds them; linears that the target's programs read as one matrix have one
// width. UsageError where the target holds nothing as small.
// `decoder`: the model with its own weights, which it has afterwards too.
void fit_bits(Recipe& recipe, model::Decoder& decoder, const PackedDataset& text, ProgressReporter& progress);

}  // namespace lrqat::train
