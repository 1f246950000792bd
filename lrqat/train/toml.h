// The part of TOML that recipes use: `key = value` lines; values are strings, numbers, true, false, or lists
// of these on one line; # starts a comment. toml++ reads them. Tables, dotted keys, dates and what takes
// several lines are refused.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lrqat::train {

struct TomlEntry {
  std::string key;                  // with '-' where the file has '_'
  std::vector<std::string> values;  // strings without quotation marks, numbers as they are written
  bool is_list = false;
  bool is_text = false;
  std::int64_t line = 0;
};

// UsageError with `where`, the line and, where there is one, the key.
std::vector<TomlEntry> parse_toml(std::string_view text, const std::string& where);
std::string print_toml(const TomlEntry& entry);  // one line, without its end

}  // namespace lrqat::train
