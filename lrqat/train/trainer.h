// Training from recipe to result: model and data are opened, the model prepared (or a run continued), steps
// taken, evaluations and checkpoints made on the way.
#pragma once

#include <ATen/core/Tensor.h>

#include <atomic>
#include <filesystem>
#include <functional>
#include <optional>

#include "lrqat/base/progress.h"
#include "lrqat/train/open_inputs.h"
#include "lrqat/train/recipe.h"
#include "lrqat/train/run.h"

namespace lrqat::train {

struct TrainOptions {
  std::filesystem::path run;  // the folder to make, or to continue
  bool resume = false;
  at::Device device = at::kCPU;
  const std::atomic<bool>* stop = nullptr;  // set: finish the step, write a checkpoint, return
  MakeEvaluate make_evaluate;               // empty: no evaluations
  // Called once the student is prepared: until then nothing is on disk and nothing would be lost.
  std::function<void()> on_prepared;
};

struct TrainResult {
  bool interrupted = false;
  std::int64_t steps = 0;   // done so far, all sessions together
  std::int64_t tokens = 0;  // trained on
  double loss = 0;          // of the last step
  double seconds = 0;       // in training steps
  double tokens_per_second = 0;
  std::int64_t peak_memory_bytes = 0;  // of this session, preparing included
  std::optional<Run> run;              // still locked
};

// With options.resume the recipe is the run's own; `recipe` is then not looked at.
// Errors: an existing run without resume; another model or other data at a resume; a loss or gradient that is
// not finite (before the optimiser sees it: the last checkpoint stays good).
TrainResult train(const Recipe& recipe, const TrainOptions& options, ProgressReporter& progress);

}  // namespace lrqat::train
