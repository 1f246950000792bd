// --data, --context, --stride-windows, --max-windows: the text that perplexity and compare measure on, and
// its windows.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "lrqat/eval/windows.h"
#include "lrqat/formats/model_config.h"

namespace lrqat::cli {

// Both outlive the command. A context of 0, where --context is not given, is for fit_windows to decide.
void add_window_flags(CLI::App& command, std::string& data, eval::WindowOptions& windows);

// --context as given, refused where the model has fewer positions; else `usual`, or the model's where those
// are fewer.
eval::WindowOptions fit_windows(eval::WindowOptions windows, std::int64_t usual,
                                const formats::ModelConfig& config);

}  // namespace lrqat::cli
