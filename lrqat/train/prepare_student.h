// Gives a float model what a recipe starts from: the weights of its linears, from the float weights alone or
// with calibration text where the recipe's `init` asks for it, and the ranges of its activations.
#pragma once

#include "lrqat/base/progress.h"
#include "lrqat/formats/weight_source.h"
#include "lrqat/model/decoder.h"
#include "lrqat/start/prepare.h"
#include "lrqat/train/packed_dataset.h"
#include "lrqat/train/recipe.h"

namespace lrqat::train {

// True where the recipe, or an override of it, starts a linear from calibration text.
bool starts_from_text(const Recipe& recipe);

// True where activations are quantized on ranges that are observed before training.
bool has_static_ranges(const Recipe& recipe);

// True where either is so, or the widths of linears are chosen by text (fit_bits.h).
bool needs_calibration(const Recipe& recipe);

// How the recipe's linears start; `recipe` must outlive it.
start::Plan start_plan(const Recipe& recipe);
// Sequences of a calibration batch; in block-wise optimisation it holds whole steps. text: null where it is
// not known, here and below.
std::int64_t calibration_rows(const Recipe& recipe, const PackedDataset* text);
// As many as hold recipe.calibration_tokens, or all that the text has.
std::int64_t calibration_sequences(const Recipe& recipe, const PackedDataset* text);
// Most bytes that calibration takes at once besides what the prepared model keeps: the text's hidden states,
// unless they go to disk, a batch of it within a layer, the Hessian of one input (awq: of all inputs of a
// layer) and the matrix that is rounded (awq: all of a layer). 0 where nothing starts from text. `decoder`
// may still be the float model.
std::int64_t calibration_bytes(const Recipe& recipe, const model::Decoder& decoder,
                               const PackedDataset* text);

// `source` holds the float weights that the student was loaded from. `text` may be null where
// needs_calibration() is false; the calibration sequences are drawn from it by the recipe's seed. space: for
// a start from text.
void prepare_student(const Recipe& recipe, model::Decoder& student, const formats::WeightSource& source,
                     const PackedDataset* text, ProgressReporter& progress, start::Workspace space = {});

// Names of the norms, head and embedding that the recipe trains: a tied head is the embedding.
std::vector<std::string> trained_floats(const Recipe& recipe, const model::Decoder& decoder);
// Makes parameters of them.
void train_floats(const Recipe& recipe, model::Decoder& student);

}  // namespace lrqat::train
