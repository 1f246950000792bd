// The values of a JSON text that is read piece by piece, found by their brackets and quotation marks alone:
// each is parsed, and checked, by who gets it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "lrqat/corpus/text_stream.h"

namespace lrqat::corpus {

// The most that one row may have: a file of one value without end must not fill the memory.
inline constexpr std::size_t kLongestRow = std::size_t{256} << 20;

// How many bytes the value has that begins `offset` bytes behind what `text` has consumed, of which none is
// consumed here: an object or list up to its last bracket, anything else up to a comma, colon or bracket.
// Nothing: it has more than `most` bytes, or the text ends before it does.
std::optional<std::size_t> value_size(TextStream& text, std::size_t offset, std::size_t most);

class JsonScanner {
 public:
  // `what` names in errors what is scanned: "the JSON array".
  JsonScanner(TextStream& text, std::string what) : text_(text), what_(std::move(what)) {}

  bool at_end();  // but for white space, which is consumed
  // The next character that is no white space, which stays. Error at the end.
  char peek();
  // The same, consumed. Error where it is not `expected`.
  void take(char expected);
  // A whole value, consumed; the view holds until the next call.
  std::string_view value();
  std::int64_t line() const { return text_.line(); }
  [[noreturn]] void fail_here(const std::string& found) const;

 private:
  [[noreturn]] void fail_no_end() const;

  TextStream& text_;
  std::string what_;
  std::int64_t line_of_value_ = 0;
};

}  // namespace lrqat::corpus
