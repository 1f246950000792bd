// lrqat evaluate: tasks on any model, with the figures of lm-evaluation-harness.
#include "lrqat/eval/evaluate.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <iomanip>
#include <iostream>
#include <memory>

#include "lrqat/base/error.h"
#include "lrqat/base/memory.h"
#include "lrqat/cli/cli.h"
#include "lrqat/cli/flags.h"
#include "lrqat/model/open.h"

namespace lrqat::cli {
namespace {

struct EvaluateFlags {
  std::string model;
  std::vector<std::string> tasks;
  std::string results;
  std::string bos = "auto";
  std::string compute_dtype = "float32";
  std::int64_t num_few_shot = -1;
  eval::EvaluateOptions options;
};

// Changes when a file of the model does.
std::string file_identity(const std::filesystem::path& path) {
  namespace fs = std::filesystem;
  std::string identity = fs::weakly_canonical(path).string();
  const auto add = [&](const fs::path& file) {
    const auto time = fs::last_write_time(file).time_since_epoch().count();
    identity += concat("|", file.lexically_relative(path).string(), ":", fs::file_size(file), ":", time);
  };
  if (fs::is_regular_file(path)) add(path);
  if (fs::is_directory(path)) {
    std::vector<fs::path> files;
    for (const auto& entry : fs::recursive_directory_iterator(path)) {  // a run has its checkpoints below
      if (entry.is_regular_file()) files.push_back(entry.path());
    }
    std::sort(files.begin(), files.end());
    std::for_each(files.begin(), files.end(), add);
  }
  return identity;
}

eval::PromptEncoder::Bos parse_bos(const std::string& name) {
  if (name == "auto") return eval::PromptEncoder::Bos::kTokenizer;
  return name == "yes" ? eval::PromptEncoder::Bos::kAlways : eval::PromptEncoder::Bos::kNever;
}

std::string with_error(const Json& json, const std::string& metric) {
  if (!json.contains(metric)) return "";
  std::ostringstream out;
  out << std::fixed << std::setprecision(4) << json[metric].get<double>();
  const Json error = json.value(metric + "_stderr", Json());
  if (error.is_number()) out << " ± " << error.get<double>();
  return out.str();
}

void print_row(const std::string& name, const Json& json, const std::vector<std::string>& metrics) {
  std::cout << std::left << std::setw(18) << name;
  for (const std::string& metric : metrics) std::cout << "  " << metric << " " << with_error(json, metric);
  if (json.contains("samples")) std::cout << "  (" << json["samples"] << " samples)";
  std::cout << "\n";
}

void print_text(const Json& json) {
  for (const auto& [name, task] : json["tasks"].items()) {
    print_row(name, task, task["metrics"].get<std::vector<std::string>>());
  }
  for (const auto& [name, group] : json["groups"].items()) print_row(name, group, {"acc", "acc_norm"});
}

void run_evaluate(const EvaluateFlags& flags, Context& context) {
  eval::EvaluateOptions options = flags.options;
  options.bos = parse_bos(flags.bos);
  if (flags.num_few_shot >= 0) options.num_few_shot = flags.num_few_shot;
  std::vector<eval::TaskDefinition> tasks;
  for (const std::string& name : eval::expand_tasks(flags.tasks)) {
    tasks.push_back(eval::find_task(name));
    eval::check_task(tasks.back(), options);
  }
  const model::LoadOptions load{model::parse_compute_type(flags.compute_dtype),
                                at::Device(context.options.device)};
  const model::OpenedModel model = model::open_model(flags.model, load);
  const eval::EvaluatedModel evaluated{*model.decoder, model.tokenizer(),
                                       file_identity(flags.model) + "|" + flags.compute_dtype};
  eval::ResultsFile results(flags.results);
  Json json{{"tasks", Json::object()}};
  for (const eval::TaskDefinition& task : tasks) {
    json["tasks"][task.name] = eval::evaluate_task(task, evaluated, options, results, context.progress);
  }
  json["groups"] = eval::group_metrics(json["tasks"]);
  json["bos"] = eval::PromptEncoder(model.tokenizer(), options.bos).adds_bos();
  json["peak_memory_bytes"] = peak_resident_bytes();
  context.options.json ? context.print_json(json) : print_text(json);
}

}  // namespace

Action declare_evaluate(CLI::App& command) {
  auto flags = std::make_shared<EvaluateFlags>();
  auto& options = flags->options;
  command.add_option("--model", flags->model, "Hugging Face folder, GGUF file, run or converted folder")
      ->required();
  command
      .add_option("--tasks", flags->tasks, "tasks, groups (lr_qat_six, l4q_seven) or task files, by commas")
      ->required()
      ->delimiter(',');
  command.add_option("--task-data", options.task_data, "folder with the tasks' data files (JSON lines)")
      ->required();
  add_integer(command, "--limit", options.limit, 0, kMostCount, "only the first rows of each task (0: all)")
      ->default_str("0");
  add_integer(command, "--num-fewshot", flags->num_few_shot, 0, kMostCount,
              "examples before each question (default: the task's)");
  command.add_option("--split", options.split, "another split than the task's own: valid, test, …");
  command.add_option("--results", flags->results, "per-sample results; an interrupted run goes on from it");
  add_choice(command, "--bos", flags->bos, {"auto", "yes", "no"},
             "begin every prompt with BOS: auto (as the tokenizer does), yes, no")
      ->default_str("auto");
  add_integer(command, "--max-length", options.max_length, 0, kMostCount,
              "longer prompts lose their beginning (0: the model's)")
      ->default_str("0");
  add_integer(command, "--batch-tokens", options.batch_tokens, 1, kMostCount,
              "tokens that go through the model at once")
      ->default_str(std::to_string(options.batch_tokens));
  command.add_option("--compute-dtype", flags->compute_dtype, "matrix products in float32, bfloat16 or auto")
      ->capture_default_str();
  return [flags](Context& context) { run_evaluate(*flags, context); };
}

}  // namespace lrqat::cli
