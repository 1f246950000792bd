// The part of TOML that recipes use: `key = value` lines; values are strings ("…" with \" \\ \n \t \uXXXX, or
// '…'), numbers, true, false, or one-line lists of these; # starts a comment. Tables, dotted keys and dates
// are refused by name.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lrqat::train {

struct TomlEntry {
  std::string key;
  std::vector<std::string> values;  // as text, without quotation marks
  bool is_list = false;
  bool is_text = false;
  std::int64_t line = 0;
};

// UsageError with `where` and the line.
std::vector<TomlEntry> parse_toml(std::string_view text, const std::string& where);
std::string print_toml(const TomlEntry& entry);  // one line, without its end

}  // namespace lrqat::train
