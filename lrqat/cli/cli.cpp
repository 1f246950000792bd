#include "lrqat/cli/cli.h"

#include <ATen/Parallel.h>

#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>
#include <vector>

#include "lrqat/base/error.h"
#include "lrqat/base/user_text.h"
#include "lrqat/cli/failure.h"
#include "lrqat/cli/flags.h"
#include "lrqat/cli/mapped_file_guard.h"
#include "lrqat/cli/progress_bar.h"
#include "lrqat/cli/run.h"
#include "lrqat/cli/standard_output.h"
#include "lrqat/cli/usage.h"
#include "lrqat/model/device.h"
#include "lrqat/model/tensor_pool.h"
#include "lrqat/train/run.h"

namespace lrqat::cli {
namespace {

struct Subcommand {
  const char* name;
  const char* help;
  Declare declare;
};

const std::vector<Subcommand>& subcommands() {
  static const std::vector<Subcommand> table = {
      {"tokenize", "lines of text to token ids, or back", declare_tokenize},
      {"quantize", "a model in, a small model out, in one command", declare_quantize},
      {"train", "train a low-bit model from a float model", declare_train},
      {"perplexity", "perplexity of a model on a text, and its divergence from another", declare_perplexity},
      {"evaluate", "zero-shot and few-shot tasks, with lm-evaluation-harness' figures", declare_evaluate},
      {"compare", "two models on a text: KL divergence, same first token, perplexity ratio", declare_compare},
      {"generate", "text that follows a prompt", declare_generate},
      {"sample-text", "text by the model itself, to calibrate and train with", declare_sample_text},
      {"convert", "a run's parameters to integers and scales", declare_convert},
      {"export", "integers and scales to a file that other programs read", declare_export},
      {"inspect", "what a file, folder or run holds", declare_inspect},
      {"plan", "memory and time of a recipe before anything runs", declare_plan},
  };
  return table;
}

constexpr std::int64_t kMostThreads = 1024;

void add_common_options(CLI::App& command, CommonOptions& options) {
  command.add_flag("--json", options.json, "one JSON document on stdout, everything else on stderr");
  add_integer(command, "--threads", options.threads, 0, kMostThreads, "threads to use [0: all cores]");
  const auto read_seed = [&options](const std::string& text) { options.seed = parse_unsigned("seed", text); };
  command.add_option_function<std::string>("--seed", read_seed, "seed of everything random [0]")
      ->type_name("N");
  command.add_option("--device", options.device, "cpu, cuda or cuda:N")->capture_default_str();
  command.allow_extras();  // so that unknown words can be named (usage.h)
}

void print_json(const Json& document) { std::cout << json_text(document, 2) << "\n"; }

void execute(const Action& action, const CommonOptions& options) {
  model::open_device(options.device);
  if (options.threads > 0) at::set_num_threads(options.threads);
  ProgressBar progress;
  Context context{options, progress, print_json};
  action(context);
}

int parse_and_act(int argc, char** argv) {
  model::pool_large_tensors();
  train::register_run_opener();
  CLI::App app("lrqat trains a language model's low-bit integers (LR-QAT) and ships exactly those.");
  app.require_subcommand(1);
  app.allow_extras();
  app.set_version_flag("--version", "lrqat " LRQAT_VERSION);
  CommonOptions options;
  if (argc > 0) options.program = argv[0];
  std::vector<std::pair<CLI::App*, Action>> actions;
  for (const Subcommand& row : subcommands()) {
    CLI::App* command = app.add_subcommand(row.name, row.help);
    add_common_options(*command, options);
    actions.emplace_back(command, row.declare(*command));
  }
  try {
    app.parse(argc, argv);
    if (const std::string unknown = unknown_word(app); !unknown.empty()) throw UsageError(unknown);
    for (const auto& [command, action] : actions) {
      if (!command->parsed()) continue;
      options.seed_given = command->count("--seed") > 0;
      execute(action, options);
    }
    return 0;
  } catch (const CLI::Success& help) {
    return app.exit(help);
  } catch (const CLI::Error& error) {
    std::cerr << "lrqat: " << readable(usage_message(app, error)) << "\n";
    return 2;
  } catch (...) {
    const Failure failure = describe_failure();
    std::cerr << "lrqat: " << failure.message << "\n";
    return failure.exit_code;
  }
}

}  // namespace

int run(int argc, char** argv) {
  guard_mapped_files();
  const int code = parse_and_act(argc, argv);
  if (code != 0) return code;
  try {
    flush_standard_output();
    return 0;
  } catch (const Error& error) {
    std::cerr << "lrqat: " << error.what() << "\n";
    return 1;
  }
}

}  // namespace lrqat::cli
