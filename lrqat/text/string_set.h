// A set of strings to be found in a text: at the leftmost place where any of them begins, the longest one.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lrqat/text/regex.h"

namespace lrqat::text {

class StringSet {
 public:
  struct Match {
    Span span;
    std::int32_t value;
  };

  StringSet() = default;
  // Strings with their values; empty strings are left out, of equal strings the last one counts.
  explicit StringSet(std::vector<std::pair<std::string, std::int32_t>> entries);

  bool empty() const { return entries_.empty(); }
  std::optional<Match> find(std::string_view text, std::size_t from) const;
  // Calls `found` with every entry that `text` has at `position`, shorter ones first.
  template <typename Found>
  void for_each_at(std::string_view text, std::size_t position, const Found& found) const {
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
        found(Match{{position, position + depth + 1}, low->second});
      }
    }
  }
  // The longest entry that `text` has at `position`.
  std::optional<Match> match_at(std::string_view text, std::size_t position) const;

 private:
  std::vector<std::pair<std::string, std::int32_t>> entries_;  // sorted: a range of them shares each prefix
  std::array<bool, 256> first_byte_{};
};

}  // namespace lrqat::text
