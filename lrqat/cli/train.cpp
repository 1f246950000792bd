// lrqat train: the recipe from a file and flags, Ctrl-C that leaves a resumable run, and the comparison at
// the end.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <memory>
#include <thread>

#include "lrqat/base/error.h"
#include "lrqat/cli/cli.h"
#include "lrqat/cli/flags.h"
#include "lrqat/cli/recipe_flags.h"
#include "lrqat/cli/stop_signals.h"
#include "lrqat/cli/text_output.h"
#include "lrqat/train/methods.h"
#include "lrqat/train/quality.h"
#include "lrqat/train/run.h"
#include "lrqat/train/run_training.h"
#include "lrqat/train/trainer.h"

namespace lrqat::cli {
namespace {

namespace fs = std::filesystem;

struct TrainFlags {
  RecipeFlags recipe;
  std::string out;
  bool resume = false;
};

// Recipe flags would be silently ignored beside --resume.
void refuse_recipe_flags(const TrainFlags& flags, const CommonOptions& options) {
  if (!flags.recipe.any() && !options.seed_given) return;
  throw UsageError("--resume continues the run's own recipe: give no recipe flags and no --config with it");
}

// What a figure of the loss means, for readers of --json.
std::string loss_kind(const train::Recipe& recipe) {
  return recipe.distill_weight == 0.0 ? "cross-entropy" : recipe.distill_weight == 1.0 ? "kl" : "mixed";
}

Json describe(const train::TrainResult& result, const train::Recipe& recipe, const fs::path& run) {
  Json json{{"run", run.string()},
            {"steps", result.steps},
            {"tokens", result.tokens},
            {"scored_tokens", result.scored},
            {"loss", result.loss},
            {"loss_kind", loss_kind(recipe)},
            {"kept_step", result.choice ? result.choice->step : result.steps},
            {"held_out_loss", nullptr},
            {"perplexity", nullptr},
            {"kl_to_float", nullptr},
            {"measured_on", nullptr},
            {"measured_tokens", 0},
            {"seconds", result.seconds},
            {"tokens_per_second", result.tokens_per_second},
            {"peak_memory_bytes", result.peak_memory_bytes}};
  if (result.choice) {
    json["held_out_loss"] = {
        {"start", result.choice->at_start}, {"kept", result.choice->at_step}, {"end", result.choice->at_end}};
  }
  return json;
}

void add_quality(Json& json, const train::TrainResult& result, const train::Run& run,
                 const CommonOptions& options, ProgressReporter& progress) {
  if (!result.report_text) return;
  const train::Quality quality =
      train::measure_quality(run, *result.report_text, at::Device(options.device), progress);
  json["perplexity"] = {{"float", quality.reference_perplexity},
                        {"rtn", quality.rounded_perplexity},
                        {"trained", quality.trained_perplexity}};
  json["kl_to_float"] = {{"rtn", quality.rounded_kl}, {"trained", quality.trained_kl}};
  json["measured_on"] = run.recipe().eval_data.empty() ? "held-out" : run.recipe().eval_data;
  json["measured_tokens"] = quality.tokens;
}

// What to do with the run, as commands of the program as it was called.
std::vector<std::string> next_commands(const train::Recipe& recipe, const std::string& run,
                                       const std::string& called) {
  const std::string program = shell_word(called);
  const auto& method = train::method_of(recipe);
  if (method.adapters_stay) {
    return {concat(program, " export --model ", shell_word(run), " --format peft --out ",
                   shell_word(run + "-peft"))};
  }
  const std::string converted = run + "-converted";
  const std::string convert =
      concat(program, " convert --run ", shell_word(run), " --out ", shell_word(converted));
  const bool rotates = recipe.rotations.r3 || recipe.rotations.r4;
  if (recipe.activations.any() || rotates) return {convert};  // no export format holds our grids or rotations
  const std::string file = run + (recipe.target == "gguf" ? ".gguf" : "-" + recipe.target);
  return {convert, concat(program, " export --model ", shell_word(converted), " --format ", recipe.target,
                          " --out ", shell_word(file))};
}

// Why which checkpoint is kept.
std::string kept_text(const Json& json) {
  if (json["held_out_loss"].is_null()) return "the last step; nothing was held out to choose by";
  const Json& held = json["held_out_loss"];
  const std::string start = rounded(held["start"], 4), kept = rounded(held["kept"], 4),
                    end = rounded(held["end"], 4);
  const auto step = json["kept_step"].get<std::int64_t>();
  if (step == 0 && json["steps"].get<std::int64_t>() > 0) {
    return concat(
        "step 0, the model as it was before training: training made it worse on held-out text (loss ", start,
        " before, ", end, " after). Try a smaller --lr, or more data or steps");
  }
  const std::string chosen =
      concat("step ", step, ": loss ", kept, " on held-out text, ", start, " before training");
  return step == json["steps"].get<std::int64_t>() ? chosen
                                                   : concat(chosen, ", ", end, " after the last step");
}

void print_quality(const Json& json, const train::Recipe& recipe) {
  const Json& p = json["perplexity"];
  if (p.is_null()) return;
  const Json& kl = json["kl_to_float"];
  const std::string reference = recipe.teacher.empty() ? "float" : "teacher";
  std::cout << "perplexity         " << reference << " " << rounded(p["float"], 2) << ", rounded "
            << rounded(p["rtn"], 2) << ", trained " << rounded(p["trained"], 2) << "\n"
            << "KL to " << reference << (recipe.teacher.empty() ? "        " : "      ") << "rounded "
            << rounded(kl["rtn"], 4) << ", trained " << rounded(kl["trained"], 4) << "\n"
            << "measured on        "
            << (recipe.eval_data.empty() ? "held-out training data" : recipe.eval_data) << ", "
            << json["measured_tokens"] << " tokens scored\n";
}

void print_text(const Json& json, const train::Recipe& recipe) {
  std::cout << "run                " << json["run"].get<std::string>() << "\n";
  if (train::method_of(recipe).trains) {
    std::cout << "steps              " << json["steps"] << " (" << json["tokens"] << " tokens, "
              << json["scored_tokens"] << " scored)\n"
              << "loss               " << rounded(json["loss"], 4) << " (" << train::objective_name(recipe)
              << " a scored token, of the last step)\n"
              << "kept               " << kept_text(json) << "\n";
  }
  print_quality(json, recipe);
  if (train::method_of(recipe).trains)
    std::cout << "tokens per second  " << std::llround(json["tokens_per_second"].get<double>()) << "\n";
  std::cout << "peak memory        " << mebibytes(json["peak_memory_bytes"]) << "\n";
  for (const Json& command : json["next"])
    std::cout << "next               " << command.get<std::string>() << "\n";
}

// How threads share a sum decides its last bits, so a run goes on with as many as it began with.
void take_threads(int began_with, const CommonOptions& options, ProgressReporter& progress) {
  const auto cores = static_cast<int>(std::thread::hardware_concurrency());
  if (options.threads == 0 && began_with > 0 && began_with <= cores) at::set_num_threads(began_with);
  const int now = at::get_num_threads();
  if (began_with == 0 || began_with == now) return;
  progress.message(concat("the run began with ", began_with, " thread", began_with == 1 ? "" : "s",
                          " and goes on with ", now, ": sums may differ in their last bits"));
}

train::Recipe recipe_to_run(const TrainFlags& flags, Context& context) {
  if (!flags.resume) return resolve_recipe(flags.recipe, context.options);
  refuse_recipe_flags(flags, context.options);
  const train::Run run = train::Run::open(flags.out);
  take_threads(run.threads(), context.options, context.progress);
  if (const std::string other = run.other_machine(); !other.empty()) context.progress.message(other);
  return run.recipe();
}

void run_train(const TrainFlags& flags, Context& context) {
  const train::Recipe asked = recipe_to_run(flags, context);
  train::TrainOptions options;
  options.run = flags.out;
  options.resume = flags.resume;
  options.device = at::Device(context.options.device);
  const StopSignals signals;
  options.stop = signals.requested();
  options.on_prepared = StopSignals::can_stop;
  const train::TrainResult result = train::train(asked, options, context.progress);
  const train::Recipe& recipe = result.run->recipe();  // as it was fitted to the model
  if (result.interrupted) {
    fail("stopped after step ", result.steps, " of ", recipe.steps,
         "; continue with `lrqat train --resume --out ", flags.out, "`");
  }
  signals.release();
  if (result.tokens > 0 && result.scored == 0 && result.loss == 0.0) {  // older runs did not count
    fail(flags.out, ": none of the ", result.tokens,
         " tokens that were trained on is scored (they are of prompts), so nothing was learned; start a new "
         "run with more --steps or a larger --sequence-length");
  }
  Json json = describe(result, recipe, flags.out);
  add_quality(json, result, *result.run, context.options, context.progress);
  json["next"] = next_commands(recipe, flags.out, context.options.program);
  result.run->save_result(json);
  context.options.json ? context.print_json(json) : print_text(json, recipe);
}

}  // namespace

Action declare_train(CLI::App& command) {
  auto flags = std::make_shared<TrainFlags>();
  add_out(command, flags->out, "folder of the run");
  command.add_flag("--resume", flags->resume, "continue the run in --out");
  add_recipe_flags(command, flags->recipe);
  return [flags](Context& context) { run_train(*flags, context); };
}

}  // namespace lrqat::cli
