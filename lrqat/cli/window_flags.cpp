#include "lrqat/cli/window_flags.h"

#include <algorithm>

#include "lrqat/base/error.h"
#include "lrqat/cli/flags.h"
#include "lrqat/model/positions.h"

namespace lrqat::cli {

void add_window_flags(CLI::App& command, DataFlags& data, eval::WindowOptions& windows) {
  command
      .add_option("--data", data.data,
                  "the text: a file, folder or quoted pattern of text or JSON rows; of instructions and "
                  "conversations "
                  "the answers alone are scored")
      ->required();
  command
      .add_option("--data-format", data.format,
                  "what it holds, where more than one layout could be read (as of train)")
      ->capture_default_str();
  windows.context = 0;
  add_integer(command, "--context", windows.context, 2, kMostCount,
              "tokens a window (default: 2048, compare 512, or as many as the model has positions)");
  add_integer(command, "--stride-windows", windows.stride_windows, 1, kMostCount, "take every n-th window")
      ->default_str("1");
  add_integer(command, "--max-windows", windows.max_windows, 0, kMostCount,
              "at most so many windows (0: all)")
      ->default_str("0");
}

eval::WindowOptions fit_windows(eval::WindowOptions windows, std::int64_t usual,
                                const model::Decoder& decoder) {
  if (windows.context == 0) windows.context = std::min(usual, decoder.config().max_position_embeddings);
  model::check_positions(decoder.config(), "--context", windows.context);
  return windows;
}

void describe_windows(const eval::EvaluationText& text, const eval::PerplexityResult& result, Json& json) {
  json["tokens"] = result.tokens;
  json["answers_only"] = text.answers_only();
  json["context"] = result.context;
  json["windows"] = result.windows;
}

std::string windows_line(const Json& json) {
  return concat(json["tokens"], " scored in ", json["windows"], " windows of ", json["context"],
                json["answers_only"].get<bool>() ? " (of answers; prompts are seen, not scored)" : "");
}

}  // namespace lrqat::cli
