#include "lrqat/text/string_set.h"

#include <algorithm>

namespace lrqat::text {

StringSet::StringSet(std::vector<std::pair<std::string, std::int32_t>> entries) {
  std::stable_sort(entries.begin(), entries.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  for (auto& entry : entries) {
    if (entry.first.empty()) continue;
    if (!entries_.empty() && entries_.back().first == entry.first) entries_.pop_back();
    first_byte_[static_cast<unsigned char>(entry.first[0])] = true;
    entries_.push_back(std::move(entry));
  }
}

std::optional<StringSet::Match> StringSet::match_at(std::string_view text, std::size_t position) const {
  std::optional<Match> longest;
  for_each_at(text, position, [&](const Match& match) { longest = match; });
  return longest;
}

std::optional<StringSet::Match> StringSet::find(std::string_view text, std::size_t from) const {
  if (entries_.empty()) return std::nullopt;
  for (std::size_t i = from; i < text.size(); ++i) {
    if (!first_byte_[static_cast<unsigned char>(text[i])]) continue;
    if (const std::optional<Match> match = match_at(text, i)) return match;
  }
  return std::nullopt;
}

}  // namespace lrqat::text
