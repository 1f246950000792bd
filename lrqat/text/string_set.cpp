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
  auto low = entries_.begin();
  auto high = entries_.end();
  // Before each step, [low, high) are the entries that start with the `depth` bytes at `position`.
  for (std::size_t depth = 0; position + depth < text.size() && low != high; ++depth) {
    const auto byte = static_cast<unsigned char>(text[position + depth]);
    const auto byte_at = [depth](const auto& entry) {  // -1: the entry ends here, before all longer ones
      return entry.first.size() > depth ? static_cast<int>(static_cast<unsigned char>(entry.first[depth]))
                                        : -1;
    };
    low = std::partition_point(low, high, [&](const auto& entry) { return byte_at(entry) < byte; });
    high = std::partition_point(low, high, [&](const auto& entry) { return byte_at(entry) == byte; });
    if (low != high && low->first.size() == depth + 1) {
      longest = Match{{position, position + depth + 1}, low->second};
    }
  }
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
