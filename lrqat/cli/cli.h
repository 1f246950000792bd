// The command line: one subcommand a file, each a row in the table of cli.cpp.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "lrqat/base/json.h"
#include "lrqat/base/progress.h"

namespace CLI {
class App;
}

namespace lrqat::cli {

// What every subcommand takes: --json, --threads, --seed, --device. Threads are set before the action runs.
struct CommonOptions {
  std::string program = "lrqat";  // as it was called
  bool json = false;
  int threads = 0;  // 0: all cores
  std::uint64_t seed = 0;
  bool seed_given = false;
  std::string device = "cpu";
};

// What an action gets once the command line is parsed.
struct Context {
  const CommonOptions& options;
  ProgressReporter& progress;                   // on stderr; a bar on a terminal, lines elsewhere
  std::function<void(const Json&)> print_json;  // the one document of --json, on stdout
};

// Runs after parsing. Throws lrqat::Error on failure (exit code 1), UsageError on wrong usage (2).
using Action = std::function<void(Context&)>;

// Declares its flags on `command` (storage in a shared_ptr that the action holds) and returns the action.
using Declare = Action (*)(CLI::App& command);

Action declare_tokenize(CLI::App& command);
Action declare_perplexity(CLI::App& command);
Action declare_evaluate(CLI::App& command);
Action declare_compare(CLI::App& command);
Action declare_generate(CLI::App& command);
Action declare_sample_text(CLI::App& command);
Action declare_quantize(CLI::App& command);
Action declare_train(CLI::App& command);
Action declare_convert(CLI::App& command);
Action declare_export(CLI::App& command);
Action declare_inspect(CLI::App& command);
Action declare_plan(CLI::App& command);

}  // namespace lrqat::cli
