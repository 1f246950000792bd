// What a recipe works on, opened and checked before anything is prepared or written: whatever is wrong with
// model, texts or their fit to the recipe is an Error here. Training and `lrqat plan` ask the same.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "lrqat/base/progress.h"
#include "lrqat/model/decoder.h"
#include "lrqat/model/source_weight.h"
#include "lrqat/train/held_out.h"
#include "lrqat/train/packed_dataset.h"
#include "lrqat/train/recipe.h"

namespace lrqat::train {

struct TrainInputs {
  Recipe recipe;  // as it is run: what it leaves to model and machine is decided
  model::SharedSource source;
  std::unique_ptr<model::Decoder> decoder;  // of it, with its own weights, on the CPU
  model::SharedSource teacher;              // --teacher, or the model itself
  std::optional<DataSplit> text;            // where the recipe needs it and names some
  std::string text_fingerprint;             // of the whole of it; empty: there is none
  std::optional<PackedDataset> evaluation;  // where the recipe names some
};

// `recipe` is valid (validate()). decided: it is a run's own, which leaves nothing open.
TrainInputs open_inputs(const Recipe& recipe, bool decided, ProgressReporter& progress);

// Error where not even the activations of a micro-batch fit into this machine's free memory. decoder: the
// model with its own weights, which it has afterwards too.
void check_memory(const Recipe& recipe, model::Decoder& decoder);

}  // namespace lrqat::train
