// What a recipe works on, opened and checked before anything is prepared or written: whatever is wrong with
// model, texts or their fit to the recipe is an Error here. Training and `lrqat plan` ask the same.
#pragma once

#include <functional>
#include <optional>

#include "lrqat/base/progress.h"
#include "lrqat/data/dataset.h"
#include "lrqat/model/decoder.h"
#include "lrqat/model/source_weight.h"
#include "lrqat/text/tokenizer.h"
#include "lrqat/train/recipe.h"

namespace lrqat::train {

// Mean negative log-likelihood of the evaluation text, nats a token.
using Evaluate = std::function<double(const model::Decoder& student)>;
// Reads the recipe's evaluation text, Error where it cannot be evaluated on. Evaluation lives beside training,
// not under it, so it is handed in.
using MakeEvaluate = std::function<Evaluate(const Recipe&, const text::Tokenizer&)>;

struct TrainInputs {
  Recipe recipe;  // as it is run: what it leaves to model and machine is decided
  model::SharedSource source;
  std::optional<data::PackedDataset> text;  // where the recipe needs it and names some
  Evaluate evaluate;                        // empty: no evaluations
};

// `recipe` is valid (validate()). decided: it is a run's own, which leaves nothing open. make_evaluate may be
// empty: no evaluations.
TrainInputs open_inputs(const Recipe& recipe, bool decided, const MakeEvaluate& make_evaluate,
                        ProgressReporter& progress);

// Error where not even the activations of a micro-batch fit into this machine's free memory.
void check_memory(const Recipe& recipe, const model::SharedSource& source);

}  // namespace lrqat::train
