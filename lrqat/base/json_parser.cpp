#include "lrqat/base/json_parser.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <limits>
#include <unordered_map>

#include "lrqat/base/utf8.h"

namespace lrqat {
namespace {

constexpr std::size_t kMostValues = 50'000'000;  // some 16 to 64 bytes of memory each

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Bytes of the UTF-8 character that `text` begins with; 0: it begins with none.
std::size_t utf8_character(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  const std::size_t size = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  if (size == 0 || first > 0xf4 || text.size() < size) return 0;
  for (std::size_t i = 1; i < size; ++i) {
    if ((byte(i) & 0xc0U) != 0x80U) return 0;
  }
  // Longer than needed, surrogates, beyond U+10FFFF.
  if ((first == 0xe0 && byte(1) < 0xa0) || (first == 0xed && byte(1) >= 0xa0) ||
      (first == 0xf0 && byte(1) < 0x90) || (first == 0xf4 && byte(1) >= 0x90)) {
    return 0;
  }
  return size;
}

// The members of an object as they are read. A key that comes again keeps its place and takes the new value,
// as in Python.
template <typename J>
class ObjectBuilder;

template <>
class ObjectBuilder<Json> {
 public:
  bool contains(const std::string& key) const { return members_.contains(key); }
  void set(std::string key, Json value) { members_.insert_or_assign(std::move(key), std::move(value)); }
  Json take() { return std::move(members_); }

 private:
  Json::object_t members_;
};

template <>
class ObjectBuilder<OrderedJson> {
 public:
  bool contains(const std::string& key) const { return places_.contains(key); }
  void set(std::string key, OrderedJson value) {
    const auto [place, is_new] = places_.try_emplace(key, members_.size());
    if (!is_new) {
      static_cast<Members&>(members_)[place->second].second = std::move(value);
      return;
    }
    // The vector's own function: ordered_map's would look through all keys before.
    static_cast<Members&>(members_).emplace_back(std::move(key), std::move(value));
  }
  OrderedJson take() { return std::move(members_); }

 private:
  using Members = OrderedJson::object_t::Container;
  OrderedJson::object_t members_;
  std::unordered_map<std::string, std::size_t> places_;
};

}  // namespace

template <typename J>
J JsonParser<J>::parse() {
  take("\xef\xbb\xbf");  // a byte order mark
  J result = value(0);
  skip_space();
  if (at_ < text_.size()) fail_here("expected nothing behind the value, found " + found());
  return result;
}

template <typename J>
J JsonParser<J>::value(int depth) {
  skip_space();
  if (++values_ > kMostValues) fail_here("more than " + std::to_string(kMostValues) + " values");
  const char c = peek();
  if (c == '{') return object(depth + 1);
  if (c == '[') return array(depth + 1);
  if (c == '"') return string();
  if (take("true")) return true;
  if (take("false")) return false;
  if (take("null")) return nullptr;
  if (take("NaN")) return std::numeric_limits<double>::quiet_NaN();
  if (take("Infinity")) return std::numeric_limits<double>::infinity();
  if (take("-Infinity")) return -std::numeric_limits<double>::infinity();
  if (c == '-' || is_digit(c)) return number();
  fail_here("expected a value, found " + found());
}

template <typename J>
void JsonParser<J>::enter(int depth) {
  if (depth > rules_.deepest) {
    fail_here("lists and objects are nested deeper than " + std::to_string(rules_.deepest) + " levels");
  }
  ++at_;
  skip_space();
}

template <typename J>
J JsonParser<J>::object(int depth) {
  enter(depth);
  ObjectBuilder<J> members;
  if (take("}")) return members.take();
  while (true) {
    skip_space();
    if (peek() != '"') fail_here("expected a key in quotes, found " + found());
    std::string key = string();
    if (rules_.repeated_key && members.contains(key)) rules_.repeated_key(key, depth);
    skip_space();
    if (!take(":")) fail_here("expected ':' behind a key, found " + found());
    members.set(std::move(key), value(depth));
    skip_space();
    if (take("}")) return members.take();
    if (!take(",")) fail_here("expected ',' or '}', found " + found());
  }
}

template <typename J>
J JsonParser<J>::array(int depth) {
  enter(depth);
  typename J::array_t members;
  if (take("]")) return members;
  while (true) {
    members.push_back(value(depth));
    skip_space();
    if (take("]")) return members;
    if (!take(",")) fail_here("expected ',' or ']', found " + found());
  }
}

template <typename J>
bool JsonParser<J>::digits() {
  const std::size_t begin = at_;
  while (is_digit(peek())) ++at_;
  return at_ > begin;
}

template <typename J>
J JsonParser<J>::number() {
  const std::size_t begin = at_;
  const bool negative = take("-");
  if (!take("0") && !digits()) fail_here("expected a digit, found " + found());
  bool whole = true;
  if (take(".")) {
    whole = false;
    if (!digits()) fail_here("expected a digit, found " + found());
  }
  if (peek() == 'e' || peek() == 'E') {
    whole = false;
    ++at_;
    if (peek() == '+' || peek() == '-') ++at_;
    if (!digits()) fail_here("expected a digit, found " + found());
  }
  const char* first = text_.data() + begin;
  const char* last = text_.data() + at_;
  std::uint64_t natural = 0;
  std::int64_t integer = 0;
  if (whole && !negative && std::from_chars(first, last, natural).ec == std::errc()) return natural;
  if (whole && negative && std::from_chars(first, last, integer).ec == std::errc()) return integer;
  double real = 0;
  if (std::from_chars(first, last, real).ec == std::errc()) return real;
  return std::strtod(std::string(first, last).c_str(), nullptr);  // too large or too small: infinity or 0
}

template <typename J>
std::string JsonParser<J>::string() {
  std::string out;
  ++at_;
  while (at_ < text_.size()) {
    const char c = text_[at_];
    if (c == '"') return ++at_, out;
    if (c == '\\') {
      escape(out);
    } else {
      character(out);
    }
  }
  fail_here("a string does not end");
}

template <typename J>
void JsonParser<J>::character(std::string& out) {
  std::size_t end = at_;  // of plain ASCII, which most is
  while (end < text_.size() && text_[end] >= ' ' && text_[end] != '"' && text_[end] != '\\') ++end;
  if (end == at_) {
    if (static_cast<unsigned char>(text_[at_]) < 0x20) fail_here("a string holds " + found() + "; escape it");
    const std::size_t size = utf8_character(text_.substr(at_));
    if (size == 0) fail_here(found() + " is not UTF-8");
    end = at_ + size;
  }
  out.append(text_.substr(at_, end - at_));
  at_ = end;
}

template <typename J>
void JsonParser<J>::escape(std::string& out) {
  constexpr std::string_view kLetters = "\"\\/bfnrt", kMeanings = "\"\\/\b\f\n\r\t";
  ++at_;
  const std::size_t letter = at_ < text_.size() ? kLetters.find(text_[at_]) : std::string_view::npos;
  if (letter != std::string_view::npos) {
    out += kMeanings[letter];
    ++at_;
    return;
  }
  if (!take("u")) fail_here("expected an escape such as \\n or \\u00e9, found " + found());
  unsigned code = hex4();
  const bool high = code >= 0xd800 && code < 0xdc00;
  if (high && text_.substr(at_).starts_with("\\u")) {
    const std::size_t before = at_;
    at_ += 2;
    const unsigned low = hex4();
    if (low >= 0xdc00 && low < 0xe000) {
      code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    } else {
      at_ = before;  // a lone surrogate, and an escape of its own behind it
    }
  }
  append_utf8(out, code);
}

template <typename J>
unsigned JsonParser<J>::hex4() {
  unsigned code = 0;
  const std::string_view four = text_.substr(std::min(at_, text_.size()), 4);
  const auto [end, error] = std::from_chars(four.data(), four.data() + four.size(), code, 16);
  if (error != std::errc() || end != four.data() + 4)
    fail_here("expected four hexadecimal digits behind \\u");
  at_ += 4;
  return code;
}

template <typename J>
bool JsonParser<J>::take(std::string_view word) {
  if (!text_.substr(at_).starts_with(word)) return false;
  at_ += word.size();
  return true;
}

template <typename J>
void JsonParser<J>::skip_space() {
  while (at_ < text_.size() &&
         (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\r' || text_[at_] == '\t'))
    ++at_;
}

template <typename J>
std::string JsonParser<J>::found() const {
  if (at_ >= text_.size()) return "the end of the text";
  const auto byte = static_cast<unsigned char>(text_[at_]);
  if (byte > 0x20 && byte < 0x7f) return std::string("'") + text_[at_] + "'";
  constexpr const char* kDigits = "0123456789abcdef";
  return std::string("byte 0x") + kDigits[byte >> 4] + kDigits[byte & 15U];
}

template <typename J>
void JsonParser<J>::fail_here(const std::string& what) const {
  const std::string_view before = text_.substr(0, at_);
  const auto lines = std::count(before.begin(), before.end(), '\n');
  const std::size_t line_begin = before.rfind('\n') + 1;  // npos + 1 = 0
  const std::string line = text_.find('\n') == std::string_view::npos ? "" : concat("line ", lines + 1, ", ");
  fail(where_, ": not valid JSON, ", line, "column ", at_ - line_begin + 1, ": ", what);
}

template class JsonParser<Json>;
template class JsonParser<OrderedJson>;

}  // namespace lrqat
