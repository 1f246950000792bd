#include "lrqat/cli/window_flags.h"

#include "lrqat/cli/flags.h"

namespace lrqat::cli {

void add_window_flags(CLI::App& command, std::string& data, eval::WindowOptions& windows) {
  command.add_option("--data", data, "the text: .txt, or .jsonl with \"text\"")->required();
  add_integer(command, "--context", windows.context, 2, kMostCount, "tokens a window")->default_str(std::to_string(windows.context));
  add_integer(command, "--stride-windows", windows.stride_windows, 1, kMostCount, "take every n-th window")->default_str("1");
  add_integer(command, "--max-windows", windows.max_windows, 0, kMostCount, "at most so many windows (0: all)")->default_str("0");
}

}  // namespace lrqat::cli
