#include "lrqat/formats/messages.h"

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <utility>

namespace lrqat::formats {
namespace {

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t substituted = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = std::exchange(row[j], std::min({row[j] + 1, row[j - 1] + 1, substituted}));
    }
  }
  return row.back();
}

}  // namespace

std::string quoted_name(std::string_view name) {
  constexpr std::size_t kLongest = 120;
  std::string text = "\"";
  for (const char c : name.substr(0, kLongest)) text += (c >= ' ' && c <= '~') ? c : '?';
  if (name.size() > kLongest) text += "…";
  text += '"';
  return text;
}

std::string near_names_hint(std::string_view name, std::span<const std::string> candidates) {
  constexpr std::size_t kShown = 3;
  constexpr std::size_t kLongest = 200;  // longer names are damage, not typing errors
  if (name.size() > kLongest) return "";
  std::vector<std::pair<std::size_t, const std::string*>> ranked;
  for (const std::string& candidate : candidates) {
    if (candidate.size() <= kLongest) ranked.emplace_back(edit_distance(name, candidate), &candidate);
  }
  if (ranked.empty()) return "";
  std::stable_sort(ranked.begin(), ranked.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  ranked.resize(std::min(kShown, ranked.size()));
  return " (near names: " + joined(ranked, [](const auto& entry) { return quoted_name(*entry.second); }) +
         ")";
}

}  // namespace lrqat::formats
