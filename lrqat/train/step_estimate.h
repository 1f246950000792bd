// What a training step takes on this machine, measured: one block of the model is prepared as the recipe says
// and run forward and backward with the kernels that training uses, then the head and the optimiser.
#pragma once

#include <cstdint>

#include "lrqat/model/decoder.h"
#include "lrqat/model/source_weight.h"
#include "lrqat/train/packed_dataset.h"
#include "lrqat/train/recipe.h"
#include "lrqat/train/train_step.h"

namespace lrqat::train {

// Seconds of an optimiser step of the whole recipe, by part.
struct StepEstimate {
  double forward_backward = 0;  // of all blocks
  double recompute = 0;         // forward passes again, of blocks whose activations are not kept
  double teacher = 0;  // forward of the float model, where it is distilled and no cache has its logits
  double head = 0;     // logits and loss, of teacher and student
  double optimizer = 0;
  double cached_sequence = 0;  // no part of a step: one sequence of a teacher cache, which is made once
  double product_speed =
      0;  // floating-point operations a second of a block's products, everything else included

  double seconds() const { return forward_backward + recompute + teacher + head + optimizer; }
};

// `decoder` is the float model of `source`; its first block is prepared in the course of it. kept: what the
// recipe keeps of activations. Runs one micro-batch of at most some thousand tokens a few times.
StepEstimate measure_step(const Recipe& recipe, model::Decoder& decoder, const formats::WeightSource& source,
                          const KeptActivations& kept, const model::Decoder& teacher);

// Seconds that preparing all linears takes: from rows of the first block's, which tell range search,
// decomposition and rounding, or as start_estimate.h says where they start from calibration text. text: null
// where it is not known.
double measure_prepare(const Recipe& recipe, model::Decoder& decoder, const formats::WeightSource& source,
                       const PackedDataset* text);

}  // namespace lrqat::train
