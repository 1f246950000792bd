// lrqat quantize: a model in, a small model out. One command around what the others do: text (given, or
// sampled from the model), training by a preset, measuring, converting and exporting. Everything on the way
// lies in a work folder, from which the same command goes on where it was interrupted.
#include <ATen/ATen.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <iomanip>
#include <iostream>
#include <memory>
#include <numeric>

#include "lrqat/base/clock.h"
#include "lrqat/base/error.h"
#include "lrqat/base/file.h"
#include "lrqat/base/memory.h"
#include "lrqat/cli/cli.h"
#include "lrqat/cli/flags.h"
#include "lrqat/cli/recipe_flags.h"
#include "lrqat/cli/stop_signals.h"
#include "lrqat/cli/text_output.h"
#include "lrqat/eval/divergence.h"
#include "lrqat/eval/sample_text.h"
#include "lrqat/export/exporter.h"
#include "lrqat/export/folder.h"
#include "lrqat/model/converted.h"
#include "lrqat/model/open.h"
#include "lrqat/model/output.h"
#include "lrqat/train/preset.h"
#include "lrqat/train/quality.h"
#include "lrqat/train/run.h"
#include "lrqat/train/run_training.h"
#include "lrqat/train/teacher.h"

namespace lrqat::cli {
namespace {

namespace fs = std::filesystem;

constexpr const char* kConverted = "lrqat";  // --format of the folder that `lrqat convert` makes

struct QuantizeFlags {
  RecipeFlags recipe;
  std::string out, format, work;
  bool force = false, keep_work = false, no_measure = false;
};

// What the command does, decided before anything is written.
struct Job {
  train::Recipe recipe;
  std::string format;
  fs::path out, work;
  model::OutputKind kind() const {
    return format == kConverted ? model::OutputKind::folder : exporting::find_exporter(format).output;
  }
};

// By --format, else by the name.
std::string format_of(const QuantizeFlags& flags) {
  if (!flags.format.empty()) {
    if (flags.format != kConverted) exporting::find_exporter(flags.format);
    return flags.format;
  }
  if (fs::path(flags.out).extension() == ".gguf") return "gguf";
  throw UsageError(concat("--out ", flags.out,
                          ": a name that ends in .gguf is a GGUF file; for a folder say "
                          "which one with --format (",
                          exporting::known_exporters(), ", ", kConverted, ")"));
}

// The integers have to suit the file that they go into; lrqat's own folder holds any.
void choose_target(RecipeFlags& flags, const std::string& format) {
  std::vector<std::string>& target = flags.fields.at("for");
  if (format == kConverted) return;
  if (target.empty()) target = {format};
  if (target.front() != format)
    throw UsageError(concat("--for ", target.front(), " and --format ", format, " contradict each other"));
}

Job job_of(QuantizeFlags flags, const CommonOptions& options) {
  Job job;
  job.format = format_of(flags);
  choose_target(flags.recipe, job.format);
  job.recipe = resolve_recipe(flags.recipe, options);
  if (job.recipe.model.empty()) throw UsageError("--model is missing: a Hugging Face folder or a GGUF file");
  job.out = flags.out;
  job.work = flags.work.empty() ? fs::path(flags.out + ".work") : fs::path(flags.work);
  return job;
}

// A work folder belongs to one command: other settings would go on with what these have made.
void open_work(const Job& job) {
  const fs::path path = job.work / "recipe.toml";
  const std::string text = concat("# lrqat quantize --format ", job.format, "\n", print_recipe(job.recipe));
  std::error_code code;
  if (fs::exists(job.work, code)) {
    if (!fs::is_regular_file(path, code)) {
      fail(job.work.string(),
           ": exists and is not a work folder of lrqat quantize; give another with --work");
    }
    if (read_text_file(path) != text) {
      fail(job.work.string(), ": was begun by lrqat quantize with other settings (", path.string(),
           "); give these again to go on, or remove the folder to begin anew");
    }
    return;
  }
  fs::create_directories(job.work, code);
  if (code) fail("cannot create folder ", job.work.string(), ": ", code.message());
  write_text_file(path, text);
}

// Text for a recipe that names none: the model's own. More than is needed, because some is held out.
std::string sampled_text(const Job& job, const CommonOptions& options, ProgressReporter& progress) {
  const fs::path path = job.work / "text.jsonl";
  if (fs::exists(path)) return fs::absolute(path).string();
  progress.message("no --data: sampling text from the model itself");
  const model::OpenedModel model =
      model::open_model(job.recipe.model, {job.recipe.compute(), at::Device(options.device)});
  eval::SampleTextOptions sampling;
  sampling.sequence_length = job.recipe.sequence_length;
  const std::int64_t length = eval::fit_to_model(sampling, *model.decoder).sequence_length;
  const std::int64_t needed = train::tokens_needed(job.recipe, length);
  sampling.tokens = needed + needed / 16 + 4 * length;
  sampling.seed = job.recipe.seed;
  sampling.origin = {{"model", job.recipe.model}};
  eval::sample_text(model, sampling, path, progress);
  return fs::absolute(path).string();
}

train::TrainResult train_run(const Job& job, const CommonOptions& options, ProgressReporter& progress) {
  train::TrainOptions train;
  train.run = job.work / "run";
  train.resume = train::Run::is_run(train.run);
  train.device = at::Device(options.device);
  const StopSignals signals;
  train.stop = signals.requested();
  train.on_prepared = StopSignals::can_stop;
  train::TrainResult result = train::train(job.recipe, train, progress);
  if (result.interrupted)
    fail("stopped after step ", result.steps, " of ", result.run->recipe().steps,
         "; the same command goes on");
  return result;
}

Json figures_of(const eval::DivergenceResult& of) {
  return {{"kl", of.kl.mean},
          {"kl_stderr", of.kl.error()},
          {"same_first_token", of.top1.mean},
          {"perplexity", of.model.perplexity}};
}

// Float, rounding and the trained model on held-out text, or on --eval-data. Null: there is no such text.
Json measure(const train::TrainResult& result, const CommonOptions& options, ProgressReporter& progress) {
  if (!result.report_text) {
    progress.message("nothing is measured: no text was held out; --eval-data names some");
    return {};
  }
  const train::Run& run = *result.run;
  const train::PackedDataset& text = *result.report_text;
  const model::LoadOptions load{run.recipe().compute(), at::Device(options.device)};
  const model::OpenedModel trained = model::open_model(run.path(), load);
  const auto reference = model::load_float_model(train::open_teacher(run.recipe(), trained.source), load);
  const auto rounded = train::rounded_model(run, trained, load);
  std::vector<std::int64_t> indices(static_cast<std::size_t>(text.size()));
  std::iota(indices.begin(), indices.end(), 0);
  const at::Tensor tokens = text.batch(indices).to(at::kInt).contiguous();
  const at::Tensor scored = text.targets(indices).ge(0).to(at::kByte).contiguous();
  const auto count = static_cast<std::size_t>(tokens.numel());
  const auto results = eval::divergences(
      *reference, {rounded.get(), trained.decoder.get()},
      {{tokens.const_data_ptr<std::int32_t>(), count}, {scored.const_data_ptr<std::uint8_t>(), count}},
      {.context = text.sequence_length()}, progress);
  const train::Recipe& recipe = run.recipe();
  return {{"text", recipe.eval_data.empty() ? "held-out text" : recipe.eval_data},
          {"tokens", results.front().model.tokens},
          {"float", {{"perplexity", results.front().reference.perplexity}}},
          {"rounded", figures_of(results.front())},
          {"quantized", figures_of(results.back())}};
}

std::int64_t bytes_of(const fs::path& path) {
  if (fs::is_directory(path)) return exporting::bytes_in(path);
  return static_cast<std::int64_t>(fs::file_size(path));
}

// Writes the output; its size, and what of it was compared.
Json write_output(const Job& job, bool replace, ProgressReporter& progress) {
  const model::OpenedModel trained = model::open_model(job.work / "run");
  Json json{{"out", job.out.string()}, {"format", job.format}};
  if (job.format == kConverted) {
    json["tensors"] =
        model::save_converted(*trained.decoder, *trained.source, job.out, replace).layers.size();
    json["bit_exact_tensors"] = json["tensors"];
  } else {
    exporting::ExportOptions options;
    options.replace = replace;
    const auto report =
        exporting::export_model(exporting::find_exporter(job.format), trained, job.out, options, progress);
    for (const std::string& warning : report.warnings) progress.message("warning: " + warning);
    json["tensors"] = report.tensors;
    json["bit_exact_tensors"] = report.bit_exact_tensors;
  }
  const std::int64_t weights = exporting::count_weights(*trained.decoder), bytes = bytes_of(job.out);
  json["bytes"] = bytes;
  json["bits_per_weight"] = 8.0 * static_cast<double>(bytes) / static_cast<double>(weights);
  json["float_bytes"] = 2 * weights;
  return json;
}

void print_table(const Json& json) {
  const auto line = [](const std::string& label, const std::vector<std::string>& cells) {
    std::cout << std::left << std::setw(12) << label << std::right;
    for (const std::string& cell : cells) std::cout << std::setw(18) << cell;
    std::cout << "\n";
  };
  const std::string size = mebibytes(json["bytes"]), bits = rounded(json["bits_per_weight"], 2);
  const std::string float_size = mebibytes(json["float_bytes"]);
  const Json& measured = json["measured"];
  if (measured.is_null()) {
    std::cout << json["out"].get<std::string>() << ": " << size << ", " << bits
              << " bits a weight (float: " << float_size << ")\n";
    return;
  }
  line("", {"KL to float", "same first token", "perplexity", "size", "bits a weight"});
  line("float", {"0", "100 %", rounded(measured["float"]["perplexity"], 2), float_size, "16.00"});
  for (const char* model : {"rounded", "quantized"}) {
    const Json& of = measured[model];
    line(model, {rounded(of["kl"], 4), rounded(100 * of["same_first_token"].get<double>(), 1) + " %",
                 rounded(of["perplexity"], 2), size, bits});
  }
  std::cout << "measured on " << measured["text"].get<std::string>() << ", " << measured["tokens"]
            << " tokens; rounded: to nearest, on the same grid\n"
            << json["out"].get<std::string>() << ": " << json["bit_exact_tensors"] << " of "
            << json["tensors"] << " tensors bit-exact\n";
}

void run_quantize(const QuantizeFlags& flags, Context& context) {
  Job job = job_of(flags, context.options);
  model::check_output(job.out, job.kind(), flags.force, {job.recipe.model});
  open_work(job);
  const double begin = seconds_now();
  if (job.recipe.data.empty()) job.recipe.data = {sampled_text(job, context.options, context.progress)};
  const double sampled = seconds_now();
  std::int64_t steps = 0;
  Json measured;
  double trained = 0.0;
  {
    const train::TrainResult result = train_run(job, context.options, context.progress);
    trained = seconds_now();
    steps = result.steps;
    if (!flags.no_measure) measured = measure(result, context.options, context.progress);
  }
  const double measured_at = seconds_now();
  Json json = write_output(job, flags.force, context.progress);
  json["preset"] = flags.recipe.preset;
  json["bits"] = job.recipe.bits;
  json["steps"] = steps;
  json["measured"] = measured;
  json["seconds"] = {{"text", sampled - begin},
                     {"train", trained - sampled},
                     {"measure", measured_at - trained},
                     {"export", seconds_now() - measured_at}};
  json["peak_memory_bytes"] = peak_resident_bytes();
  if (!flags.keep_work) fs::remove_all(job.work);
  context.options.json ? context.print_json(json) : print_table(json);
}

}  // namespace

Action declare_quantize(CLI::App& command) {
  auto flags = std::make_shared<QuantizeFlags>();
  flags->recipe.preset = "balanced";
  add_out(command, flags->out, "the file or folder to write");
  command.add_option("--format", flags->format,
                     concat("what --out becomes: ", exporting::known_exporters(), ", or ", kConverted,
                            ", the folder of lrqat convert (default: gguf where the name ends in .gguf)"));
  command.add_option("--preset", flags->recipe.preset, "how much time goes into it: " + train::preset_help())
      ->capture_default_str();
  command.add_option("--work", flags->work,
                     "folder for what lies between the steps; the same command goes on from there (default: "
                     "beside --out, with .work behind its name)");
  command.add_flag("--keep-work", flags->keep_work, "leave the work folder, with the run, where it is");
  command.add_flag("--no-measure", flags->no_measure, "do not compare the result with the float model");
  command.add_flag("--force", flags->force, "replace a file or folder that lrqat wrote before");
  add_recipe_flags(command, flags->recipe);
  return [flags](Context& context) { run_quantize(*flags, context); };
}

}  // namespace lrqat::cli
