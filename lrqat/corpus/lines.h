// Text line by line, and what a blank one is.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string_view>

namespace lrqat::corpus {

inline constexpr std::string_view kSpaces = " \t\r\n\v\f";

inline bool is_blank(std::string_view text) {
  return text.find_first_not_of(kSpaces) == std::string_view::npos;
}

inline std::string_view trimmed(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(kSpaces);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpaces) - begin + 1);
}

// Lines without their '\n', and where the next one begins.
class Lines {
 public:
  explicit Lines(std::string_view text) : text_(text) {}

  std::optional<std::string_view> next() {
    if (position_ >= text_.size()) return std::nullopt;
    const std::size_t end = std::min(text_.find('\n', position_), text_.size());
    const std::string_view line = text_.substr(position_, end - position_);
    position_ = std::min(end + 1, text_.size());
    ++number_;
    return line;
  }

  std::size_t position() const { return position_; }  // of the next line
  std::int64_t number() const { return number_; }     // of the last one, from 1

 private:
  std::string_view text_;
  std::size_t position_ = 0;
  std::int64_t number_ = 0;
};

}  // namespace lrqat::corpus
