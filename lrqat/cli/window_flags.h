// --data, --data-format, --context, --stride-windows, --max-windows: the text that perplexity and compare
// measure on, and its windows.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "lrqat/base/json.h"
#include "lrqat/eval/evaluation_text.h"
#include "lrqat/eval/perplexity.h"
#include "lrqat/eval/windows.h"
#include "lrqat/model/open.h"

namespace lrqat::cli {

struct DataFlags {
  std::string data;
  std::string format = "auto";
};

// Both outlive the command. A context of 0, where --context is not given, is for fit_windows to decide.
void add_window_flags(CLI::App& command, DataFlags& data, eval::WindowOptions& windows);

// --context as given, refused where the model has fewer positions; else `usual`, or the model's where those
// are fewer.
eval::WindowOptions fit_windows(eval::WindowOptions windows, std::int64_t usual,
                                const model::Decoder& decoder);

// What the figures of this text are of: "tokens" that are scored, "answers_only" (of instruction data),
// "context", "windows" into the document, and as a line for people.
void describe_windows(const eval::EvaluationText& text, const eval::PerplexityResult& result, Json& json);
std::string windows_line(const Json& json);

}  // namespace lrqat::cli
