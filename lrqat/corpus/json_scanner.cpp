#include "lrqat/corpus/json_scanner.h"

#include <algorithm>

#include "lrqat/base/error.h"
#include "lrqat/corpus/lines.h"

namespace lrqat::corpus {
namespace {

// Follows the text of a value character by character.
class ValueEnd {
 public:
  enum class Step { inside, last, behind };

  Step step(char c) {
    if (in_string_) {
      if (escaped_)
        escaped_ = false;
      else if (c == '\\')
        escaped_ = true;
      else if (c == '"')
        in_string_ = false;
      return Step::inside;
    }
    if (c == '"') in_string_ = true;
    if (c == '[' || c == '{') ++depth_;
    if (c == ']' || c == '}') return depth_ == 0 ? Step::behind : --depth_ == 0 ? Step::last : Step::inside;
    return (c == ',' || c == ':') && depth_ == 0 ? Step::behind : Step::inside;
  }
  bool may_end() const { return depth_ == 0 && !in_string_; }

 private:
  int depth_ = 0;
  bool in_string_ = false;
  bool escaped_ = false;
};

}  // namespace

std::optional<std::size_t> value_size(TextStream& text, std::size_t offset, std::size_t most) {
  ValueEnd end;
  for (std::size_t at = offset;;) {
    const std::string_view buffered = text.buffered();
    for (; at < buffered.size(); ++at) {
      const ValueEnd::Step step = end.step(buffered[at]);
      if (step != ValueEnd::Step::inside) return at - offset + (step == ValueEnd::Step::last ? 1 : 0);
    }
    if (at - offset > most) return std::nullopt;
    if (!text.fill()) return end.may_end() ? std::optional(at - offset) : std::nullopt;
  }
}

bool JsonScanner::at_end() {
  while (true) {
    const std::string_view buffered = text_.buffered();
    const std::size_t at = std::min(buffered.find_first_not_of(kSpaces), buffered.size());
    text_.consume(at);
    if (at < buffered.size()) return false;
    if (!text_.fill()) return true;
  }
}

char JsonScanner::peek() {
  if (at_end()) fail_no_end();
  return text_.buffered().front();
}

void JsonScanner::take(char expected) {
  if (peek() != expected) fail_here(concat("expected '", expected, "'"));
  text_.consume(1);
}

std::string_view JsonScanner::value() {
  peek();
  line_of_value_ = text_.line();
  const auto size = value_size(text_, 0, kLongestRow);
  if (!size && text_.buffered().size() > kLongestRow)
    fail(text_.name(), ":", line_of_value_, ": a row of more than ", kLongestRow >> 20,
         " MiB begins here; if it is no row but holds them, write them one a line (jq -c)");
  if (!size) fail_no_end();
  const std::string_view value = text_.buffered().substr(0, *size);
  text_.consume(*size);
  return value;
}

void JsonScanner::fail_here(const std::string& found) const {
  fail(text_.name(), ":", text_.line(), ": not valid JSON: ", found);
}

void JsonScanner::fail_no_end() const {
  fail(text_.name(), ": ", what_, " has no end (a cut-off file?); its last row begins on line ",
       line_of_value_);
}

}  // namespace lrqat::corpus
