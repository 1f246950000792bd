// How good a run has become: the model that it started from (or its teacher), plain rounding on the same
// grid, and the checkpoint that convert takes, on one text.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>

#include "lrqat/base/progress.h"
#include "lrqat/model/open.h"
#include "lrqat/train/packed_dataset.h"
#include "lrqat/train/run.h"

namespace lrqat::train {

struct Quality {
  double reference_perplexity = 0;
  double rounded_perplexity = 0, rounded_kl = 0;  // KL(reference ‖ model), nats a token
  double trained_perplexity = 0, trained_kl = 0;
  std::int64_t tokens = 0;  // scored
};

// The run's model with its weights rounded to nearest on the run's grids, and its activations quantized as
// those of `trained`, which is of that run, are: the least that any method has to beat.
std::unique_ptr<model::Decoder> rounded_model(const Run& run, const model::OpenedModel& trained,
                                              const model::LoadOptions& load);

// Error where a figure is not finite, naming the model.
Quality measure_quality(const Run& run, const PackedDataset& text, at::Device device,
                        ProgressReporter& progress);

}  // namespace lrqat::train
