// Small helpers for error messages about names that come out of files.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lrqat::formats {

// The name in quotes, cut at 120 characters, with bytes that are not printable ASCII shown as '?': names come
// from files that may be damaged.
std::string quoted_name(std::string_view name);

// " (near names: a, b, c)" with the candidates of smallest edit distance, or "" when there are none.
std::string near_names_hint(std::string_view name, std::span<const std::string> candidates);

// Names of a list of rows, "a, b, c"; `name_of` picks the name of a row.
template <typename Rows, typename NameOf>
std::string joined(const Rows& rows, NameOf name_of) {
  std::string text;
  for (const auto& row : rows) {
    if (!text.empty()) text += ", ";
    text += name_of(row);
  }
  return text;
}

inline std::string joined(const std::vector<std::string>& names) {
  return joined(names, [](const std::string& name) { return name; });
}

}  // namespace lrqat::formats
