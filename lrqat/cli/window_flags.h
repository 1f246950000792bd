// --data, --context, --stride-windows, --max-windows: the text that perplexity and compare measure on, and
// its windows.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "lrqat/eval/windows.h"

namespace lrqat::cli {

// Both outlive the command; what they hold is the default.
void add_window_flags(CLI::App& command, std::string& data, eval::WindowOptions& windows);

}  // namespace lrqat::cli
