// Training in memory: a student, texts and a recipe in; steps, measurements and a state that can be saved. It
// knows no paths, no signals and no terminal: train/run_training.h is what keeps a run's folder around it.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "lrqat/base/error.h"
#include "lrqat/base/progress.h"
#include "lrqat/formats/weight_source.h"
#include "lrqat/model/decoder.h"
#include "lrqat/nn/optimizer.h"
#include "lrqat/start/prepare.h"
#include "lrqat/train/communicator.h"
#include "lrqat/train/held_out.h"
#include "lrqat/train/packed_dataset.h"
#include "lrqat/train/recipe.h"
#include "lrqat/train/sampler.h"
#include "lrqat/train/schedule.h"
#include "lrqat/train/train_state.h"
#include "lrqat/train/train_step.h"

namespace lrqat::train {

// The loss or another figure of training is not finite.
class NotFinite : public Error {
 public:
  enum class Of { step, measurement };
  NotFinite(Of of, const std::string& what) : Error(what), of_(of) {}
  // step: the step was not taken. measurement: the model as it is gives such values.
  Of of() const { return of_; }

 private:
  Of of_;
};

// What one optimiser step did.
struct StepResult {
  nn::LossSums sums;           // over its scored tokens
  double loss = 0.0;           // the objective, a scored token
  double gradient_norm = 0.0;  // before clipping
  double lr_factor = 0.0;      // of the schedule
  double epochs = 0.0;         // how often the text has been seen so far
  std::int64_t tokens = 0;     // trained on in this step
};

// Of a text, nats a scored token.
struct Evaluation {
  double objective = 0.0;  // what is trained: w·KL + (1 - w)·cross-entropy
  double cross_entropy = 0.0;
  double divergence = 0.0;  // KL(teacher ‖ student); 0 where the teacher takes no part
};

// The stages (train_state.h): prepare() from loaded to prepared, start() to training, step() to finished with
// the recipe's last step. restore() takes a prepared student, with the weights that it had then, to any later
// stage.
class Trainer {
 public:
  // recipe: fitted to the model (fit_to_model.h). teacher: none where distill_weight is 0; a cache has to
  // hold all of the text that is trained on, the first sequence in any case, and of the text to choose by.
  // All of these stay the caller's and have to outlive the trainer. Error where they do not fit together.
  Trainer(const Recipe& recipe, model::Decoder& student, const Teacher& teacher, const DataSplit& text,
          Communicator& communicator);

  // Gives the student the weights that the recipe starts from. source: the model's own.
  // space: where a start from calibration text keeps what does not have to be in memory.
  void prepare(const formats::WeightSource& source, ProgressReporter& progress, start::Workspace space = {});
  void start();
  // Copies the optimiser's state in, seeks the sampler. Error naming a tensor that is missing or of another
  // shape.
  void restore(const TrainState& state);

  // Accumulates the gradients of the recipe's micro-batches, reduces them over all processes, clips and
  // updates. NotFinite where loss or gradient norm are not: then nothing has changed.
  StepResult step();

  // Without gradients, over a whole text.
  Evaluation evaluate(const PackedDataset& text) const;
  // The cross-entropy alone, which asks no teacher, nats a scored token.
  double cross_entropy(const PackedDataset& text) const;
  // On the held-out text to choose by; the state then knows whether it is the best so far. Nothing: no text
  // is held out. NotFinite where the objective is not.
  std::optional<Evaluation> evaluate_held_out();
  // NotFinite where the loss on the first training sequence is not: a step may leave weights that are finite
  // and of no use.
  void check_model() const;
  // NotFinite that names the figure of the present model.
  void check_finite(const char* what, double value) const;

  Stage stage() const { return state_.stage; }
  std::int64_t steps() const { return state_.step; }  // done
  // The optimiser's tensors in it are the trainer's own: the next step changes them.
  TrainState state() const;

 private:
  struct MicroBatch {
    at::Tensor tokens, targets;  // [B, L] int64
  };
  struct Drawn {
    std::vector<MicroBatch> batches;  // of this process
    std::int64_t scored = 0;          // predictions that count, of all processes
  };

  void make_optimizer();
  Drawn draw();
  nn::LossSums accumulate(const Drawn& drawn) const;
  nn::LossSums measure(const TrainStep& step, const PackedDataset& text) const;
  void reduce_gradients() const;
  nn::LossSums reduce(const nn::LossSums& sums) const;
  void check_step(const StepResult& result);
  Schedule schedule() const;

  const Recipe& recipe_;
  model::Decoder& student_;
  Teacher teacher_;
  const DataSplit& text_;
  Communicator& communicator_;
  Sampler sampler_;
  TrainState state_;  // without the optimiser's tensors
  std::optional<nn::AdamW> optimizer_;
  std::optional<TrainStep> train_step_;
};

// "KL", "cross-entropy" or "0.9 KL + 0.1 cross-entropy": what the loss is.
std::string objective_name(const Recipe& recipe);

}  // namespace lrqat::train
