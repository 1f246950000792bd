#include "lrqat/train/trainer.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <optional>

#include "lrqat/base/error.h"
#include "lrqat/base/file.h"
#include "lrqat/base/memory.h"
#include "lrqat/data/dataset.h"
#include "lrqat/data/sampler.h"
#include "lrqat/model/load.h"
#include "lrqat/train/layer_report.h"
#include "lrqat/train/methods.h"
#include "lrqat/train/metrics.h"
#include "lrqat/train/open_inputs.h"
#include "lrqat/train/prepare_student.h"
#include "lrqat/train/run.h"
#include "lrqat/train/scale_range.h"
#include "lrqat/train/train_step.h"
#include "lrqat/train/trained_parameters.h"

namespace lrqat::train {
namespace {

static_assert(data::kNotScored == nn::kIgnoreIndex);

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

AdamW make_optimizer(const Recipe& recipe, const model::Decoder& student) {
  AdamWOptions options;
  options.beta1 = recipe.beta1;
  options.beta2 = recipe.beta2;
  options.clip_together = recipe.clip_together;
  return {trained_parameters(recipe, student), options};
}

struct MicroBatch {
  at::Tensor tokens, targets;  // [B, L] int64
  // Predictions that count: the first token of a sequence is none.
  std::int64_t scored() const {
    return targets.narrow(1, 1, targets.size(1) - 1).ne(nn::kIgnoreIndex).sum().item<std::int64_t>();
  }
};

// What a step reports.
struct StepResult {
  nn::LossSums sums;
  double loss = 0;
  double gradient_norm = 0;
};

// The model that was opened with the inputs, where that is the device to train on.
std::unique_ptr<model::Decoder> take_student(TrainInputs& inputs, at::Device device) {
  if (device.is_cpu()) return std::move(inputs.decoder);
  return model::load_float_model(inputs.source, {inputs.recipe.compute(), device});
}

class Trainer {
 public:
  // run: the one to continue, or none. inputs.text is there; inputs.decoder is taken.
  Trainer(const TrainOptions& options, TrainInputs& inputs, std::optional<Run> run,
          ProgressReporter& progress)
      : recipe_(inputs.recipe),
        options_(options),
        inputs_(inputs),
        dataset_(inputs.text->training),
        progress_(progress),
        sampler_(dataset_.size(), recipe_.seed),
        run_(std::move(run)) {
    student_ = take_student(inputs, options.device);
    if (recipe_.distill_weight > 0.0)
      teacher_ = model::load_float_model(inputs.teacher, {recipe_.compute(), options.device});
    const bool resumed = run_ && run_->has_checkpoint();
    std::optional<RunRecord> record;
    if (!run_) {
      record = make_record(*inputs.source, inputs.text_fingerprint, recipe_,
                           recipe_.teacher.empty() ? nullptr : inputs.teacher.get());
    }
    if (resumed) {
      restore_student(*run_, *student_, inputs.source, /*best=*/false, progress_);
    } else {
      prepare_student(recipe_, *student_, *inputs.source, &dataset_, progress_);
    }
    if (options.on_prepared) options.on_prepared();
    if (!run_) run_ = Run::create(options.run, recipe_, *record);
    if (!resumed) {
      run_->save_prepared(*student_);
      if (recipe_.map_frozen) map_frozen(*run_, *student_);
    }
    train_floats(recipe_, *student_);
    optimizer_.emplace(make_optimizer(recipe_, *student_));
    scales_.emplace(recipe_, *student_);
    const KeptActivations kept = kept_activations(recipe_, *student_);
    step_.emplace(*student_, teacher_.get(), StepOptions{*recipe_.distill_weight, kept});
    Values held_out;  // logged once the run has its name
    if (resumed) {
      resume();
    } else {
      save(choose(held_out));
    }
    run_->publish();
    metrics_.emplace(run_->path(), resumed ? state_.step : -1);
    log(held_out);
  }

  TrainResult run() {
    progress_.start("training", recipe_.steps);
    while (state_.step < recipe_.steps && !stopped()) {
      const double begin = seconds_now();
      const StepResult result = step();
      state_.seconds += seconds_now() - begin;
      report(result, begin);
      const bool last = state_.step == recipe_.steps;
      const bool due = last || (recipe_.eval_every > 0 && state_.step % recipe_.eval_every == 0);
      const bool save_due =
          (recipe_.save_every > 0 && state_.step % recipe_.save_every == 0) || is_save_time();
      if (due) metrics_->log_layers(state_.step, report_layers(recipe_, *student_));
      if (due) report_on_evaluation_text();
      Values held_out;
      const bool best = due && choose(held_out);
      log(held_out);
      if (due || save_due || stopped()) save(best);
    }
    progress_.finish();
    return result();
  }

 private:
  using Values = std::map<std::string, double>;

  void log(const Values& values) {
    if (!values.empty()) metrics_->log(state_.step, values);
  }

  bool stopped() const { return options_.stop != nullptr && options_.stop->load(); }

  bool is_save_time() const {
    return recipe_.save_minutes > 0 && seconds_now() - saved_at_ >= 60.0 * recipe_.save_minutes;
  }

  void resume() {
    state_ = run_->last_state();
    run_->load_optimizer(*optimizer_);
    sampler_.seek(state_.position);
    progress_.message(concat("continuing at step ", state_.step, " of ", recipe_.steps));
  }

  StepResult step() {
    StepResult out;
    optimizer_->zero_grad();
    std::vector<MicroBatch> batches;
    std::int64_t scored = 0;
    for (std::int64_t i = 0; i < recipe_.gradient_accumulation; ++i) {
      const auto indices = sampler_.next(recipe_.batch_size);
      batches.push_back({dataset_.batch(indices), dataset_.targets(indices)});
      scored += batches.back().scored();
    }
    const auto divisor = static_cast<double>(std::max<std::int64_t>(scored, 1));
    for (const MicroBatch& batch : batches) {
      const nn::LossSums sums =
          step_->accumulate(batch.tokens.to(options_.device), batch.targets.to(options_.device), divisor);
      out.sums.cross_entropy += sums.cross_entropy;
      out.sums.divergence += sums.divergence;
      out.sums.tokens += sums.tokens;
    }
    out.loss = step_->loss(out.sums);
    out.gradient_norm = optimizer_->clip_grad_norm(recipe_.clip_norm);
    check_finite(out);
    optimizer_->step(schedule().factor(state_.step));
    optimizer_->zero_grad();
    ++state_.step;
    state_.position = sampler_.position();
    state_.tokens += recipe_.gradient_accumulation * recipe_.batch_size * recipe_.sequence_length;
    state_.scored += out.sums.tokens;
    state_.loss = out.loss;
    return out;
  }

  Schedule schedule() const { return {recipe_.schedule, recipe_.steps, recipe_.warmup_steps()}; }

  void check_finite(const StepResult& step) const {
    if (std::isfinite(step.loss) && std::isfinite(step.gradient_norm)) return;
    fail("step ", state_.step + 1, ": the loss is ", step.loss, " and the gradient norm ", step.gradient_norm,
         "; nothing was changed, the last checkpoint in ", run_->path().string(),
         " stays. Try a smaller --lr or --scale-lr, or --compute-dtype float32");
  }

  void report(const StepResult& step, double begin) {
    const double elapsed = seconds_now() - begin;
    const auto tokens =
        static_cast<double>(recipe_.gradient_accumulation * recipe_.batch_size * recipe_.sequence_length);
    Values values{{"train/loss", step.loss},
                  {"train/gradient_norm", step.gradient_norm},
                  {"train/lr_factor", schedule().factor(state_.step - 1)},
                  {"train/tokens_per_second", tokens / elapsed},
                  {"train/epochs", sampler_.epochs()},
                  {"memory/resident_bytes", static_cast<double>(current_resident_bytes())}};
    const auto scored = static_cast<double>(std::max<std::int64_t>(step.sums.tokens, 1));
    values["train/cross_entropy"] = step.sums.cross_entropy / scored;
    if (recipe_.distill_weight > 0.0) values["train/divergence"] = step.sums.divergence / scored;
    metrics_->log(state_.step, values);
    char detail[96];
    std::snprintf(detail, sizeof(detail), "%s %.4f, %.0f tokens/s", objective_name(recipe_).c_str(),
                  step.loss, tokens / elapsed);
    progress_.update(state_.step, detail);
  }

  // The evaluation text decides nothing.
  void report_on_evaluation_text() {
    if (!inputs_.evaluation) return;
    const nn::LossSums sums = step_->measure(*inputs_.evaluation, silent_);
    const double nll = sums.cross_entropy / static_cast<double>(sums.tokens);
    check_measured("cross-entropy of the evaluation text", nll);
    metrics_->log(state_.step, {{"eval/nll", nll}, {"eval/perplexity", std::exp(nll)}});
    progress_.message(
        concat("step ", state_.step, ": perplexity ", std::exp(nll), " on ", recipe_.eval_data));
  }

  // Measures the trained objective on held-out text, the figures into `values`; true where it is the best so
  // far.
  bool choose(Values& values) {
    if (!inputs_.text->choosing) return false;
    const nn::LossSums sums = step_->measure(*inputs_.text->choosing, silent_);
    const double objective = step_->loss(sums);
    check_measured("loss on the held-out text", objective);
    const auto tokens = static_cast<double>(sums.tokens);
    values["held_out/objective"] = objective;
    values["held_out/cross_entropy"] = sums.cross_entropy / tokens;
    if (teacher_) values["held_out/divergence"] = sums.divergence / tokens;
    progress_.message(
        concat("step ", state_.step, ": ", objective_name(recipe_), " ", objective, " on held-out text"));
    if (state_.step == 0) state_.start_objective = objective;
    state_.last_objective = objective;
    if (state_.best_step >= 0 && !(objective < state_.best_objective)) return false;
    state_.best_objective = objective;
    state_.best_step = state_.step;
    return true;
  }

  // A step may leave weights that are finite and of no use.
  void check_measured(const char* what, double value) const {
    if (std::isfinite(value)) return;
    fail("after step ", state_.step, " the ", what, " is ", value, ": ",
         state_.step == 0
             ? concat("the model itself gives values that are not finite; see `lrqat perplexity --model ",
                      recipe_.model, "`")
             : concat("training has diverged, no checkpoint is written; the last one in ",
                      run_->path().string(), " stays. Try a smaller --lr or --scale-lr"));
  }

  void save(bool best) {
    const std::int64_t first = 0;
    check_measured("loss on the first training sequence",
                   step_->loss(step_->measure(dataset_.subset({&first, 1}), silent_)));
    run_->save_checkpoint(*student_, *optimizer_, state_, best);
    for (const std::string& line : scales_->news(*student_))
      progress_.message(concat("step ", state_.step, ": ", line));
    saved_at_ = seconds_now();
  }

  TrainResult result() {
    TrainResult out;
    out.interrupted = state_.step < recipe_.steps;
    out.steps = state_.step;
    out.tokens = state_.tokens;
    out.scored = state_.scored;
    out.loss = state_.loss;
    if (state_.best_step >= 0) {
      out.choice =
          Choice{state_.best_step, state_.start_objective, state_.best_objective, state_.last_objective};
    }
    out.seconds = state_.seconds;
    out.tokens_per_second = state_.seconds > 0 ? static_cast<double>(state_.tokens) / state_.seconds : 0.0;
    out.peak_memory_bytes = peak_resident_bytes();
    out.run = std::move(run_);
    return out;
  }

  Recipe recipe_;
  const TrainOptions& options_;
  const TrainInputs& inputs_;
  const data::PackedDataset& dataset_;  // what is trained on
  ProgressReporter& progress_;
  SilentProgress silent_;
  data::Sampler sampler_;
  std::optional<Run> run_;
  RunState state_;
  double saved_at_ = seconds_now();
  std::unique_ptr<model::Decoder> student_;
  std::unique_ptr<model::Decoder> teacher_;
  std::optional<AdamW> optimizer_;
  std::optional<MetricsWriter> metrics_;
  std::optional<TrainStep> step_;
  std::optional<ScaleWatch> scales_;
};

// A method that learns nothing: the folder is the whole run.
TrainResult make_untrained_run(const TrainOptions& options, TrainInputs& inputs, ProgressReporter& progress) {
  const data::PackedDataset* text = inputs.text ? &inputs.text->training : nullptr;
  const auto student = take_student(inputs, options.device);
  const RunRecord record = make_record(*inputs.source, inputs.text_fingerprint, inputs.recipe);
  prepare_student(inputs.recipe, *student, *inputs.source, text, progress);
  if (options.on_prepared) options.on_prepared();
  TrainResult result;
  result.run = Run::create(options.run, inputs.recipe, record);
  result.run->save_prepared(*student);
  result.run->publish();
  result.peak_memory_bytes = peak_resident_bytes();
  return result;
}

}  // namespace

std::string objective_name(const Recipe& recipe) {
  const double weight = recipe.distill_weight.value_or(0.0);
  if (weight == 0.0) return "cross-entropy";
  if (weight == 1.0) return "KL";
  return concat(weight, " KL + ", 1.0 - weight, " cross-entropy");
}

TrainResult train(const Recipe& given, const TrainOptions& options, ProgressReporter& progress) {
  std::optional<Run> run;
  if (options.resume) {
    run = Run::open_to_train(options.run);
  } else {
    std::error_code ignored;  // of a name that cannot be, which check_creatable tells
    if (std::filesystem::exists(options.run, ignored))
      fail(options.run.string(), " exists: give another --out, or continue a run there with --resume");
    check_creatable(options.run);
  }
  const Recipe& recipe = run ? run->recipe() : given;
  validate(recipe);
  const bool trains = find_method(recipe.method).trains;
  if (run && !trains) {  // the folder is the whole run
    TrainResult result;
    result.peak_memory_bytes = peak_resident_bytes();
    result.run = std::move(run);
    return result;
  }
  TrainInputs inputs = open_inputs(recipe, /*decided=*/run.has_value(), progress);
  TrainResult result;
  if (trains) {
    if (!inputs.text) throw UsageError("--data is missing: one or more text files");
    if (options.device.is_cpu()) check_memory(inputs.recipe, *inputs.decoder);
    if (run) {
      run->check_data(inputs.text_fingerprint);
      run->check_eval_data();
      run->check_teacher(*inputs.teacher);
    }
    result = Trainer(options, inputs, std::move(run), progress).run();
  } else {
    result = make_untrained_run(options, inputs, progress);
  }
  if (inputs.evaluation) {
    result.report_text = std::move(inputs.evaluation);
  } else if (inputs.text) {
    result.report_text = std::move(inputs.text->reporting);
  }
  return result;
}

}  // namespace lrqat::train
