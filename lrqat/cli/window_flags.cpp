#include "lrqat/cli/window_flags.h"

namespace lrqat::cli {

void add_window_flags(CLI::App& command, std::string& data, eval::WindowOptions& windows) {
  command.add_option("--data", data, "the text: .txt, or .jsonl with \"text\"")->required();
  command.add_option("--context", windows.context, "tokens a window")
      ->check(CLI::Range(std::int64_t{2}, std::int64_t{1} << 30))
      ->capture_default_str();
  command.add_option("--stride-windows", windows.stride_windows, "take every n-th window")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command.add_option("--max-windows", windows.max_windows, "at most so many windows (0: all)")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
}

}  // namespace lrqat::cli
