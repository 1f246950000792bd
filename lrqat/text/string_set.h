// A set of strings to be found in a text: at the leftmost place where any of them begins, the longest one.
#pragma once

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
  // The longest entry that `text` has at `position`.
  std::optional<Match> match_at(std::string_view text, std::size_t position) const;

 private:
  std::vector<std::pair<std::string, std::int32_t>> entries_;  // sorted: a range of them shares each prefix
  std::array<bool, 256> first_byte_{};
};

}  // namespace lrqat::text
