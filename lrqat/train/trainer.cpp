#include "lrqat/train/trainer.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "lrqat/base/clock.h"
#include "lrqat/train/fit_to_model.h"
#include "lrqat/train/prepare_student.h"
#include "lrqat/train/trained_parameters.h"

namespace lrqat::train {
namespace {

// Of a step, over all processes.
std::int64_t tokens_of_step(const Recipe& recipe) {
  return recipe.gradient_accumulation * recipe.batch_size * recipe.sequence_length;
}

void check_inputs(const Recipe& recipe, const Teacher& teacher, const DataSplit& text,
                  const Communicator& communicator) {
  if (!recipe.distill_weight)
    fail("the recipe leaves `distill-weight` open: fit it to the model first (fit_to_model)");
  if (*recipe.distill_weight > 0.0 && !teacher.exists())
    fail("`distill-weight` ", *recipe.distill_weight, " needs a teacher");
  if (text.training.sequence_length() != recipe.sequence_length) {
    fail("the training text has sequences of ", text.training.sequence_length(),
         " tokens, the recipe asks for `sequence-length` ", recipe.sequence_length);
  }
  if (recipe.gradient_accumulation % communicator.size() != 0) {
    fail("`gradient-accumulation` is ", recipe.gradient_accumulation, ": ", communicator.size(),
         " processes share the micro-batches of a step, give a multiple of that");
  }
}

}  // namespace

Trainer::Trainer(const Recipe& recipe, model::Decoder& student, const Teacher& teacher, const DataSplit& text,
                 Communicator& communicator)
    : recipe_(recipe),
      student_(student),
      teacher_(teacher),
      text_(text),
      communicator_(communicator),
      sampler_(text.training.size(), recipe.seed) {
  check_inputs(recipe, teacher, text, communicator);
}

void Trainer::prepare(const formats::WeightSource& source, ProgressReporter& progress,
                      start::Workspace space) {
  LRQAT_CHECK(state_.stage == Stage::loaded, "the student is prepared already");
  check_fits_model(recipe_, student_);
  prepare_student(recipe_, student_, source, &text_.training, progress, std::move(space));
  state_.stage = Stage::prepared;
}

void Trainer::start() {
  LRQAT_CHECK(state_.stage == Stage::prepared, "training starts once, from a prepared student");
  make_optimizer();
  state_.stage = recipe_.steps > 0 ? Stage::training : Stage::finished;
}

void Trainer::restore(const TrainState& state) {
  LRQAT_CHECK(state_.stage == Stage::loaded && state.stage != Stage::loaded,
              "a state is restored once, into a new trainer");
  state_ = state;
  state_.optimizer.clear();
  sampler_.seek(state.position);
  if (state.stage == Stage::prepared) return;
  make_optimizer();
  optimizer_->load_state(state.optimizer);
}

// What needs the student's tensors as they are trained: parameters are these and no copies.
void Trainer::make_optimizer() {
  train_floats(recipe_, student_);
  nn::AdamWOptions options;
  options.beta1 = recipe_.beta1;
  options.beta2 = recipe_.beta2;
  options.clip_together = recipe_.clip_together;
  optimizer_.emplace(trained_parameters(recipe_, student_), options);
  const KeptActivations kept = kept_activations(recipe_, student_);
  train_step_.emplace(student_, teacher_,
                      StepOptions{*recipe_.distill_weight, kept, recipe_.distill_temperature});
}

StepResult Trainer::step() {
  LRQAT_CHECK(state_.stage == Stage::training, "a step outside of training");
  const double begin = seconds_now();
  optimizer_->zero_grad();
  StepResult result;
  result.sums = reduce(accumulate(draw()));
  reduce_gradients();
  result.loss = train_step_->loss(result.sums);
  result.gradient_norm = optimizer_->clip_grad_norm(recipe_.clip_norm);
  check_step(result);
  result.lr_factor = schedule().factor(state_.step);
  optimizer_->step(result.lr_factor);
  optimizer_->zero_grad();
  result.epochs = sampler_.epochs();
  result.tokens = tokens_of_step(recipe_);

  ++state_.step;
  state_.position = sampler_.position();
  state_.tokens += result.tokens;
  state_.scored += result.sums.tokens;
  state_.loss = result.loss;
  state_.seconds += seconds_now() - begin;
  if (state_.step == recipe_.steps) state_.stage = Stage::finished;
  return result;
}

Trainer::Drawn Trainer::draw() {
  Drawn drawn;
  for (std::int64_t i = 0; i < recipe_.gradient_accumulation; ++i) {
    const auto indices = sampler_.next(recipe_.batch_size);
    for (const std::int64_t index : indices) drawn.scored += text_.training.scored(index);
    if (i % communicator_.size() != communicator_.rank()) continue;  // another process's
    drawn.batches.push_back({text_.training.batch(indices), text_.training.targets(indices)});
  }
  return drawn;
}

nn::LossSums Trainer::accumulate(const Drawn& drawn) const {
  const auto divisor = static_cast<double>(std::max<std::int64_t>(drawn.scored, 1));
  const at::Device device = student_.device();
  nn::LossSums all;
  for (const MicroBatch& batch : drawn.batches) {
    const nn::LossSums sums =
        train_step_->accumulate(batch.tokens.to(device), batch.targets.to(device), divisor);
    all.cross_entropy += sums.cross_entropy;
    all.divergence += sums.divergence;
    all.tokens += sums.tokens;
  }
  return all;
}

nn::LossSums Trainer::reduce(const nn::LossSums& sums) const {
  const at::Tensor all =
      at::tensor({sums.cross_entropy, sums.divergence, static_cast<double>(sums.tokens)}, at::kDouble);
  communicator_.all_reduce({all});
  const auto* values = all.const_data_ptr<double>();
  return {values[0], values[1], static_cast<std::int64_t>(values[2])};
}

void Trainer::reduce_gradients() const {
  std::vector<at::Tensor> gradients;
  for (const nn::TrainedParameter& parameter : optimizer_->parameters()) {
    if (parameter.value.grad().defined()) gradients.push_back(parameter.value.grad());
  }
  communicator_.all_reduce(gradients);
}

void Trainer::check_step(const StepResult& result) {
  if (std::isfinite(result.loss) && std::isfinite(result.gradient_norm)) return;
  optimizer_->zero_grad();
  sampler_.seek(state_.position);
  throw NotFinite(NotFinite::Of::step,
                  concat("step ", state_.step + 1, ": the loss is ", result.loss, " and the gradient norm ",
                         result.gradient_norm, "; nothing was changed"));
}

Schedule Trainer::schedule() const { return {recipe_.schedule, recipe_.steps, recipe_.warmup_steps()}; }

nn::LossSums Trainer::measure(const TrainStep& step, const PackedDataset& text) const {
  std::vector<std::int64_t> own;  // of the text's sequences
  for (std::int64_t i = communicator_.rank(); i < text.size(); i += communicator_.size()) own.push_back(i);
  SilentProgress silent;
  return reduce(step.measure(text, own, silent));
}

double Trainer::cross_entropy(const PackedDataset& text) const {
  LRQAT_CHECK(train_step_.has_value(), "a measurement before training has started");
  const nn::LossSums sums = measure(TrainStep(student_, nullptr, {}), text);
  return sums.cross_entropy / static_cast<double>(sums.tokens);
}

Evaluation Trainer::evaluate(const PackedDataset& text) const {
  LRQAT_CHECK(train_step_.has_value(), "a measurement before training has started");
  const nn::LossSums sums = measure(*train_step_, text);
  const auto tokens = static_cast<double>(sums.tokens);
  return {train_step_->loss(sums), sums.cross_entropy / tokens, sums.divergence / tokens};
}

std::optional<Evaluation> Trainer::evaluate_held_out() {
  if (!text_.choosing) return std::nullopt;
  const Evaluation found = evaluate(*text_.choosing);
  check_finite("loss on the held-out text", found.objective);
  if (state_.step == 0) state_.start_objective = found.objective;
  state_.last_objective = found.objective;
  if (state_.best_step < 0 || found.objective < state_.best_objective) {
    state_.best_objective = found.objective;
    state_.best_step = state_.step;
  }
  return found;
}

void Trainer::check_model() const {
  LRQAT_CHECK(train_step_.has_value(), "a measurement before training has started");
  const std::int64_t first = 0;
  SilentProgress silent;
  check_finite("loss on the first training sequence",
               train_step_->loss(train_step_->measure(text_.training, {&first, 1}, silent)));
}

void Trainer::check_finite(const char* what, double value) const {
  if (std::isfinite(value)) return;
  throw NotFinite(NotFinite::Of::measurement,
                  concat("after step ", state_.step, " the ", what, " is ", value));
}

TrainState Trainer::state() const {
  TrainState state = state_;
  if (optimizer_) state.optimizer = optimizer_->state();
  return state;
}

std::string objective_name(const Recipe& recipe) {
  const double weight = recipe.distill_weight.value_or(0.0);
  if (weight == 0.0) return "cross-entropy";
  const double temperature = recipe.distill_temperature;
  const std::string kl = temperature == 1.0 ? "KL" : concat("KL at temperature ", temperature);
  return weight == 1.0 ? kl : concat(weight, " ", kl, " + ", 1.0 - weight, " cross-entropy");
}

}  // namespace lrqat::train
