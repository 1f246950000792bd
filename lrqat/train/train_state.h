// Where training stands: everything besides the student's tensors that the next step depends on.
#pragma once

#include <cstdint>

#include "lrqat/model/tensor_file.h"

namespace lrqat::train {

// In their order.
enum class Stage {
  loaded,    // the student has the model's own weights
  prepared,  // it has the weights that the recipe starts from
  training,  // there is an optimiser, steps are taken
  finished,  // all steps of the recipe are done
};

struct TrainState {
  Stage stage = Stage::loaded;
  std::int64_t step = 0;      // steps done
  std::int64_t position = 0;  // of the sampler
  std::int64_t tokens = 0;    // trained on
  double seconds = 0.0;       // in training steps, over all sessions
  double loss = 0.0;          // of the last step
  std::int64_t scored = 0;    // predictions that counted, over all steps
  // The trained objective on held-out text, a token: before the first step, the last time, and the least,
  // which is that of best_step. Meaningful where best_step >= 0.
  double start_objective = 0.0;
  double last_objective = 0.0;
  double best_objective = 0.0;
  std::int64_t best_step = -1;

  model::TensorList optimizer;  // AdamW::state(); empty before training

  bool is_best() const { return best_step == step; }  // nothing is better so far
};

}  // namespace lrqat::train
