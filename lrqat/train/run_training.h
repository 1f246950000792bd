// Training as `lrqat train` does it: the trainer (train/trainer.h) with a run's folder around it. Model and
// texts are opened, checkpoints and metrics written on the way; a run that was stopped or killed goes on.
#pragma once

#include <ATen/core/Tensor.h>

#include <atomic>
#include <filesystem>
#include <functional>
#include <optional>

#include "lrqat/base/progress.h"
#include "lrqat/train/packed_dataset.h"
#include "lrqat/train/recipe.h"
#include "lrqat/train/run.h"

namespace lrqat::train {

struct TrainOptions {
  std::filesystem::path run;  // the folder to make, or to continue
  bool resume = false;
  at::Device device = at::kCPU;
  const std::atomic<bool>* stop = nullptr;  // set: finish the step, write a checkpoint, return
  // Called once the student is prepared: until then nothing is on disk and nothing would be lost.
  std::function<void()> on_prepared;
};

// Which checkpoint convert takes, where text was held out to choose it by: the trained objective on that
// text.
struct Choice {
  std::int64_t step = 0;
  double at_start = 0, at_step = 0, at_end = 0;
};

struct TrainResult {
  bool interrupted = false;
  std::int64_t steps = 0;                    // done so far, all sessions together
  std::int64_t tokens = 0;                   // trained on
  std::int64_t scored = 0;                   // predictions that counted
  double loss = 0;                           // of the last step
  std::optional<Choice> choice;              // nothing: the last checkpoint is kept
  std::optional<PackedDataset> report_text;  // the evaluation data, or held-out text; nothing: there is none
  double seconds = 0;                        // in training steps
  double tokens_per_second = 0;
  std::int64_t peak_memory_bytes = 0;  // of this session, preparing included
  std::optional<Run> run;              // still locked
};

// With options.resume the recipe is the run's own; `recipe` is then not looked at.
// Errors: an existing run without resume; another model or other data at a resume; a loss, a gradient or a
// measurement that is not finite (the last checkpoint stays).
TrainResult train(const Recipe& recipe, const TrainOptions& options, ProgressReporter& progress);

}  // namespace lrqat::train
