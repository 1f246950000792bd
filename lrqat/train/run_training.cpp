#include "lrqat/train/run_training.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <memory>

#include "lrqat/base/clock.h"
#include "lrqat/base/error.h"
#include "lrqat/base/file.h"
#include "lrqat/base/memory.h"
#include "lrqat/model/load.h"
#include "lrqat/train/cached_teacher.h"
#include "lrqat/train/fingerprint.h"
#include "lrqat/train/layer_report.h"
#include "lrqat/train/methods.h"
#include "lrqat/train/metrics.h"
#include "lrqat/train/open_inputs.h"
#include "lrqat/train/prepare_student.h"
#include "lrqat/train/run_start.h"
#include "lrqat/train/scale_range.h"
#include "lrqat/train/trainer.h"

namespace lrqat::train {
namespace {

using Values = std::map<std::string, double>;

// The model that was opened with the inputs, which is in the host's memory, where that is the device to train
// on.
std::unique_ptr<model::Decoder> take_student(TrainInputs& inputs, at::Device device) {
  if (inputs.decoder->device() == device) return std::move(inputs.decoder);
  return model::load_float_model(inputs.source, {inputs.recipe.compute(), device});
}

std::unique_ptr<model::Decoder> load_teacher(const TrainInputs& inputs, at::Device device) {
  if (!(inputs.recipe.distill_weight > 0.0) || uses_teacher_cache(inputs.recipe)) return nullptr;
  return model::load_float_model(inputs.teacher, {inputs.recipe.compute(), device});
}

RunRecord record_of(const TrainInputs& inputs) {
  const Recipe& recipe = inputs.recipe;
  return make_record(*model::unrotated(inputs.source), inputs.text_fingerprint, recipe,
                     recipe.teacher.empty() ? nullptr : inputs.teacher.get());
}

// The training of one run.
class RunTraining {
 public:
  // run: the one to continue, or none. inputs.text is there; inputs.decoder is taken.
  RunTraining(const TrainOptions& options, TrainInputs& inputs, std::optional<Run> run,
              ProgressReporter& progress)
      : recipe_(inputs.recipe),
        options_(options),
        inputs_(inputs),
        progress_(progress),
        run_(std::move(run)),
        cache_(open_teacher_cache(inputs, options.device, progress)),
        student_(take_student(inputs, options.device)),
        teacher_(load_teacher(inputs, options.device)),
        trainer_(recipe_, *student_, cache_ ? Teacher(cache_.get()) : Teacher(teacher_.get()), *inputs.text,
                 alone_) {}

  TrainResult train() {
    try {
      run_ && run_->checkpoints().any() ? resume() : begin();
      take_steps();
    } catch (const NotFinite& error) {
      fail(error.what(), advice(error));
    }
    return result();
  }

 private:
  void begin();
  void resume();
  void take_steps();
  bool stopped() const { return options_.stop != nullptr && options_.stop->load(); }
  bool evaluation_due() const;
  bool save_due() const;

  void log(const Values& values);
  void report_step(const StepResult& step, double begin);
  void report_evaluation_text();
  Values evaluate_held_out();
  void save();
  std::string advice(const NotFinite& error) const;
  TrainResult result();

  std::int64_t step() const { return trainer_.steps(); }

  const Recipe& recipe_;
  const TrainOptions& options_;
  const TrainInputs& inputs_;
  ProgressReporter& progress_;
  std::optional<Run> run_;
  std::unique_ptr<TeacherCache> cache_;
  std::unique_ptr<model::Decoder> student_, teacher_;  // no teacher where a cache has its logits
  SingleProcess alone_;
  Trainer trainer_;
  std::optional<ScaleWatch> scales_;
  std::optional<MetricsWriter> metrics_;
  double saved_at_ = seconds_now();
};

// Nothing is on disk, or a run that was killed while it was prepared, or a folder that an older program left
// before its first checkpoint.
void RunTraining::begin() {
  std::optional<RunRecord> record;
  if (!run_) record = record_of(inputs_);
  const auto create = [&] { return Run::create(options_.run, recipe_, *record); };
  prepare_run(run_, create,
              [&](const start::Workspace& space) { trainer_.prepare(*inputs_.source, progress_, space); });
  if (options_.on_prepared) options_.on_prepared();
  if (!run_) run_ = create();
  run_->save_prepared(*student_);
  if (recipe_.map_frozen || run_->is_starting()) take_frozen(*run_, *student_);
  trainer_.start();
  scales_.emplace(recipe_, *student_);
  const Values held_out = evaluate_held_out();
  save();
  run_->publish();
  remove_start(*run_);
  metrics_.emplace(run_->path(), /*resumed_step=*/-1);
  log(held_out);
}

void RunTraining::resume() {
  restore_student(*run_, *student_, inputs_.source, /*best=*/false, progress_);
  if (options_.on_prepared) options_.on_prepared();
  TrainState state = run_->checkpoints().last_state();
  run_->checkpoints().load_optimizer([&](model::TensorList tensors) {
    state.optimizer = std::move(tensors);
    trainer_.restore(state);
  });
  scales_.emplace(recipe_, *student_);
  progress_.message(concat("continuing at step ", step(), " of ", recipe_.steps));
  metrics_.emplace(run_->path(), step());
}

void RunTraining::take_steps() {
  progress_.start("training", recipe_.steps);
  while (step() < recipe_.steps && !stopped()) {
    const double begin = seconds_now();
    report_step(trainer_.step(), begin);
    const bool due = evaluation_due(), saves = save_due();
    if (due) {
      metrics_->log_layers(step(), report_layers(recipe_, *student_));
      report_evaluation_text();
      log(evaluate_held_out());
    }
    if (due || saves || stopped()) save();
  }
  progress_.finish();
}

bool RunTraining::evaluation_due() const {
  return step() == recipe_.steps || (recipe_.eval_every > 0 && step() % recipe_.eval_every == 0);
}

bool RunTraining::save_due() const {
  if (recipe_.save_every > 0 && step() % recipe_.save_every == 0) return true;
  return recipe_.save_minutes > 0 && seconds_now() - saved_at_ >= 60.0 * recipe_.save_minutes;
}

void RunTraining::log(const Values& values) {
  if (!values.empty()) metrics_->log(step(), values);
}

void RunTraining::report_step(const StepResult& result, double begin) {
  const double tokens_per_second = static_cast<double>(result.tokens) / (seconds_now() - begin);
  const auto scored = static_cast<double>(std::max<std::int64_t>(result.sums.tokens, 1));
  Values values{{"train/loss", result.loss},
                {"train/gradient_norm", result.gradient_norm},
                {"train/lr_factor", result.lr_factor},
                {"train/tokens_per_second", tokens_per_second},
                {"train/epochs", result.epochs},
                {"train/cross_entropy", result.sums.cross_entropy / scored},
                {"memory/resident_bytes", static_cast<double>(current_resident_bytes())}};
  if (recipe_.distill_weight > 0.0) values["train/divergence"] = result.sums.divergence / scored;
  log(values);
  char detail[96];
  std::snprintf(detail, sizeof(detail), "%s %.4f, %.0f tokens/s", objective_name(recipe_).c_str(),
                result.loss, tokens_per_second);
  progress_.update(step(), detail);
}

// The evaluation text decides nothing.
void RunTraining::report_evaluation_text() {
  if (!inputs_.evaluation) return;
  const double nll = trainer_.cross_entropy(*inputs_.evaluation);
  trainer_.check_finite("cross-entropy of the evaluation text", nll);
  log({{"eval/nll", nll}, {"eval/perplexity", std::exp(nll)}});
  progress_.message(concat("step ", step(), ": perplexity ", std::exp(nll), " on ", recipe_.eval_data));
}

// Empty: no text is held out.
Values RunTraining::evaluate_held_out() {
  const std::optional<Evaluation> found = trainer_.evaluate_held_out();
  if (!found) return {};
  progress_.message(
      concat("step ", step(), ": ", objective_name(recipe_), " ", found->objective, " on held-out text"));
  Values values{{"held_out/objective", found->objective}, {"held_out/cross_entropy", found->cross_entropy}};
  if (recipe_.distill_weight > 0.0) values["held_out/divergence"] = found->divergence;
  return values;
}

void RunTraining::save() {
  trainer_.check_model();
  run_->save_checkpoint(*student_, trainer_.state());
  for (const std::string& line : scales_->news(*student_))
    progress_.message(concat("step ", step(), ": ", line));
  saved_at_ = seconds_now();
}

// What the user can do about it.
std::string RunTraining::advice(const NotFinite& error) const {
  if (error.of() == NotFinite::Of::step) {
    return concat(", the last checkpoint in ", run_->path().string(),
                  " stays. Try a smaller `lr` or `scale-lr`, or `compute-dtype` float32");
  }
  if (step() == 0) {
    return concat(": the model itself gives values that are not finite; see `lrqat perplexity --model ",
                  recipe_.model, "`");
  }
  return concat(": training has diverged, no checkpoint is written; the last one in ", run_->path().string(),
                " stays. Try a smaller `lr` or `scale-lr`");
}

TrainResult RunTraining::result() {
  const TrainState state = trainer_.state();
  TrainResult out;
  out.interrupted = state.stage != Stage::finished;
  out.steps = state.step;
  out.tokens = state.tokens;
  out.scored = state.scored;
  out.loss = state.loss;
  if (state.best_step >= 0) {
    out.choice = Choice{state.best_step, state.start_objective, state.best_objective, state.last_objective};
  }
  out.seconds = state.seconds;
  out.tokens_per_second = state.seconds > 0 ? static_cast<double>(state.tokens) / state.seconds : 0.0;
  out.peak_memory_bytes = peak_resident_bytes();
  out.run = std::move(run_);
  return out;
}

void check_same_inputs(const Run& run, const TrainInputs& inputs) {
  const auto check = [&](const std::string& then, const std::string& now, const char* what) {
    check_fingerprint(run.path(), then, now, what);
  };
  const RunRecord& record = run.record();
  const Recipe& recipe = run.recipe();
  if (run.is_starting())  // else restore_student() does it
    check_model(run.path(), record, *model::unrotated(inputs.source));
  check(record.data, inputs.text_fingerprint, "the training data (after tokenizing)");
  if (!recipe.eval_data.empty() && record.eval_data)
    check(*record.eval_data, data_fingerprint(recipe.eval_data), "the evaluation text");
  if (!recipe.teacher.empty()) check(record.teacher, model_fingerprint(*inputs.teacher), "the teacher");
}

// A method that learns nothing: the folder is the whole run. run: one that was killed while it was prepared.
TrainResult make_untrained_run(const TrainOptions& options, TrainInputs& inputs, std::optional<Run> run,
                               ProgressReporter& progress) {
  const PackedDataset* text = inputs.text ? &inputs.text->training : nullptr;
  if (run) check_same_inputs(*run, inputs);
  const auto student = take_student(inputs, options.device);
  std::optional<RunRecord> record;
  if (!run) record = make_record(*model::unrotated(inputs.source), inputs.text_fingerprint, inputs.recipe);
  const auto create = [&] { return Run::create(options.run, inputs.recipe, *record); };
  prepare_run(run, create, [&](const start::Workspace& space) {
    prepare_student(inputs.recipe, *student, *inputs.source, text, progress, space);
  });
  if (options.on_prepared) options.on_prepared();
  if (!run) run = create();
  run->save_prepared(*student);
  run->publish();
  remove_start(*run);
  TrainResult result;
  result.run = std::move(run);
  result.peak_memory_bytes = peak_resident_bytes();
  return result;
}

// The run to continue; nothing: a new one, and it can be made.
std::optional<Run> open_or_check(const TrainOptions& options) {
  if (options.resume) return Run::open_to_train(options.run);
  std::error_code ignored;  // of a name that cannot be, which check_creatable tells
  if (std::filesystem::exists(options.run, ignored))
    fail(options.run.string(), " exists: give another `out`, or continue a run there with `resume`");
  check_creatable(options.run);
  return std::nullopt;
}

TrainResult train_or_resume(const TrainOptions& options, TrainInputs& inputs, std::optional<Run> run,
                            ProgressReporter& progress) {
  if (!inputs.text) throw UsageError("`data` is missing: one or more text files");
  if (inputs.decoder->device() == options.device) check_memory(inputs.recipe, *inputs.decoder);
  if (run) check_same_inputs(*run, inputs);
  return RunTraining(options, inputs, std::move(run), progress).train();
}

}  // namespace

TrainResult train(const Recipe& given, const TrainOptions& options, ProgressReporter& progress) {
  std::optional<Run> run = open_or_check(options);
  const Recipe& recipe = run ? run->recipe() : given;
  validate(recipe);
  const bool trains = method_of(recipe).trains;
  TrainResult result;
  if (run && !trains && !run->is_starting()) {  // the folder is the whole run
    result.peak_memory_bytes = peak_resident_bytes();
    result.run = std::move(run);
    return result;
  }
  TrainInputs inputs = open_inputs(recipe, /*decided=*/run.has_value(), progress);
  result = trains ? train_or_resume(options, inputs, std::move(run), progress)
                  : make_untrained_run(options, inputs, std::move(run), progress);
  if (inputs.evaluation) {
    result.report_text = std::move(inputs.evaluation);
  } else if (inputs.text) {
    result.report_text = std::move(inputs.text->reporting);
  }
  return result;
}

}  // namespace lrqat::train
