// lrqat train: the recipe from a file and flags, Ctrl-C that leaves a resumable run, and the comparison at
// the end.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <cmath>
#include <csignal>
#include <iostream>
#include <memory>
#include <thread>

#include "lrqat/base/error.h"
#include "lrqat/cli/cli.h"
#include "lrqat/cli/recipe_flags.h"
#include "lrqat/data/dataset.h"
#include "lrqat/eval/divergence.h"
#include "lrqat/model/open.h"
#include "lrqat/train/methods.h"
#include "lrqat/train/run.h"
#include "lrqat/train/trainer.h"

namespace lrqat::cli {
namespace {

namespace fs = std::filesystem;

std::atomic<bool> stop_requested{false};
std::atomic<bool> prepared{false};  // from then on there is something to save

// The first signal asks for a checkpoint; the second, or one before there is anything to save, ends the program
// as usual.
extern "C" void request_stop(int signal) {
  std::signal(signal, SIG_DFL);
  if (prepared) {
    stop_requested = true;
  } else {
    std::raise(signal);
  }
}

// A signal that is ignored stays so where `keep_ignored`: SIGHUP under nohup.
void set_handler(int signal, void (*handler)(int), bool keep_ignored = false) {
  if (std::signal(signal, handler) == SIG_IGN && keep_ignored) std::signal(signal, SIG_IGN);
}

void handle_signals(void (*handler)(int)) {
  set_handler(SIGINT, handler);
  set_handler(SIGTERM, handler);
  set_handler(SIGHUP, handler, true);
}

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

eval::WindowOptions windows_of(const train::Recipe& recipe) {
  return {.context = recipe.eval_context, .max_windows = recipe.eval_windows};
}

std::vector<std::int32_t> tokens_of(const train::Recipe& recipe, const text::Tokenizer& tokenizer) {
  return tokenizer.encode(data::read_text(recipe.eval_data));
}

train::Evaluate make_evaluate(const train::Recipe& recipe, const text::Tokenizer& tokenizer) {
  const auto tokens = tokens_of(recipe, tokenizer);
  const eval::WindowOptions windows = windows_of(recipe);
  const eval::Windows check(tokens, windows);  // a text too short is an error before training, not after
  return [tokens, windows](const model::Decoder& student) {
    SilentProgress silent;
    return eval::perplexity(student, tokens, windows, silent).nll;
  };
}

// The same with weights rounded to nearest, its activations quantized as those of `trained` are.
std::unique_ptr<model::Decoder> rounded(const train::Recipe& recipe, const model::Decoder& trained,
                                        const model::SharedSource& source, const model::LoadOptions& load) {
  auto decoder = model::load_float_model(source, load);
  SilentProgress silent;
  train::prepare_linears(train::find_method("rtn"), recipe, *decoder, *source, silent);
  decoder->share_activations(trained);
  return decoder;
}

// Float model, plain rounding on the same grid and the trained model on the evaluation text.
void add_comparison(Json& json, const fs::path& run, const train::Recipe& recipe,
                    const CommonOptions& options, ProgressReporter& progress) {
  const model::LoadOptions load{recipe.compute(), at::Device(options.device)};
  const model::OpenedModel trained = model::open_model(run, load);
  const auto tokens = tokens_of(recipe, trained.tokenizer());
  const auto reference = model::load_float_model(trained.source, load);
  const auto of_trained =
      eval::divergence(*reference, *trained.decoder, tokens, windows_of(recipe), progress);
  const auto rtn = rounded(recipe, *trained.decoder, trained.source, load);
  const auto of_rtn = eval::divergence(*reference, *rtn, tokens, windows_of(recipe), progress);
  json["perplexity"] = {{"float", of_trained.reference.perplexity},
                        {"rtn", of_rtn.model.perplexity},
                        {"trained", of_trained.model.perplexity}};
  json["kl_to_float"] = {{"rtn", of_rtn.mean_kl}, {"trained", of_trained.mean_kl}};
}

Json describe(const train::TrainResult& result, const fs::path& run) {
  return {{"run", run.string()},
          {"steps", result.steps},
          {"tokens", result.tokens},
          {"loss", result.loss},
          {"perplexity", nullptr},
          {"seconds", result.seconds},
          {"tokens_per_second", result.tokens_per_second},
          {"peak_memory_bytes", result.peak_memory_bytes}};
}

void print_text(const Json& json) {
  std::cout << "run                " << json["run"].get<std::string>() << "\n"
            << "steps              " << json["steps"] << " (" << json["tokens"] << " tokens)\n"
            << "loss               " << json["loss"] << "\n"
            << "tokens per second  " << std::llround(json["tokens_per_second"].get<double>()) << "\n"
            << "peak memory        " << json["peak_memory_bytes"].get<std::int64_t>() / (1 << 20) << " MiB\n";
  if (json["perplexity"].is_null()) return;
  const Json& p = json["perplexity"];
  std::cout << "perplexity         float " << p["float"] << ", rounded " << p["rtn"] << ", trained "
            << p["trained"] << "\n"
            << "KL to float        rounded " << json["kl_to_float"]["rtn"] << ", trained "
            << json["kl_to_float"]["trained"] << "\n";
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
  return run.recipe();
}

void run_train(const TrainFlags& flags, Context& context) {
  const train::Recipe asked = recipe_to_run(flags, context);
  train::TrainOptions options;
  options.run = flags.out;
  options.resume = flags.resume;
  options.device = at::Device(context.options.device);
  options.stop = &stop_requested;
  options.make_evaluate = make_evaluate;
  options.on_prepared = [] { prepared = true; };
  handle_signals(request_stop);
  const train::TrainResult result = train::train(asked, options, context.progress);
  const train::Recipe& recipe = result.run->recipe();  // as it was fitted to the model
  if (result.interrupted) {
    fail("stopped after step ", result.steps, " of ", recipe.steps,
         "; continue with `lrqat train --resume --out ", flags.out, "`");
  }
  handle_signals(SIG_DFL);
  Json json = describe(result, flags.out);
  if (!recipe.eval_data.empty()) add_comparison(json, flags.out, recipe, context.options, context.progress);
  result.run->save_result(json);
  context.options.json ? context.print_json(json) : print_text(json);
}

}  // namespace

Action declare_train(CLI::App& command) {
  auto flags = std::make_shared<TrainFlags>();
  command.add_option("--out", flags->out, "folder of the run")->required();
  command.add_flag("--resume", flags->resume, "continue the run in --out");
  add_recipe_flags(command, flags->recipe);
  return [flags](Context& context) { run_train(*flags, context); };
}

}  // namespace lrqat::cli
