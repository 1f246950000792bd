#include <algorithm>
#include <cctype>
#include <cmath>
#include <limits>

#include "lrqat/base/utf8.h"
#include "lrqat/chat/characters.h"
#include "lrqat/chat/format.h"
#include "lrqat/chat/methods.h"
#include "lrqat/chat/number_text.h"

namespace lrqat::chat {
namespace {

class PercentFormat {
 public:
  PercentFormat(const Text& format, const Value& values, Runtime& runtime)
      : format_(format), values_(values), runtime_(runtime), out_(Text("").with_markup(format.markup())) {}

  Value run() {
    const std::string& bytes = format_.bytes();
    while (at_ < bytes.size()) {
      const std::size_t percent = std::min(bytes.find('%', at_), bytes.size());
      append(format_.part(at_, percent));
      at_ = percent + 1;
      if (percent < bytes.size()) directive();
    }
    const bool all_used = values_.is_tuple()
                              ? next_ >= values_.items().size()
                              : used_ || values_.is_dict() || values_.is_list() || values_.is_undefined();
    if (!all_used) refuse("not all arguments converted during string formatting");
    return out_;
  }

 private:
  char peek() const { return at_ < format_.size() ? format_.bytes()[at_] : '\0'; }

  const Value& next() {
    if (values_.is_tuple()) {
      if (next_ >= values_.items().size()) refuse("not enough arguments for format string");
      return values_.items()[next_++];
    }
    if (used_) refuse("not enough arguments for format string");
    used_ = true;
    return values_;
  }

  std::size_t number() {
    if (peek() == '*') {
      ++at_;
      const Value& width = next();
      if (!width.is_whole()) refuse("* wants int");
      return static_cast<std::size_t>(std::clamp<std::int64_t>(width.integer(), 0, kWidest));
    }
    std::size_t value = 0;
    while (std::isdigit(static_cast<unsigned char>(peek()))) {
      value = std::min(value * 10 + static_cast<std::size_t>(peek() - '0'), kWidest);
      ++at_;
    }
    return value;
  }

  const Value* key() {
    if (peek() != '(') return nullptr;
    const std::size_t end = format_.bytes().find(')', at_);
    if (end == std::string::npos) refuse("incomplete format key");
    if (!values_.is_dict()) refuse("format requires a mapping");
    const std::string name = format_.bytes().substr(at_ + 1, end - at_ - 1);
    at_ = end + 1;
    const Value* found = values_.dict().find(name);
    if (found == nullptr) refuse("the key '", name, "' is missing");
    return found;
  }

  void directive() {
    const Value* named = key();
    NumberFormat spec;
    bool zero = false;
    for (; peek() != '\0' && std::string_view("-+ #0").find(peek()) != std::string_view::npos; ++at_) {
      if (peek() == '-') spec.align = '<';
      if (peek() == '+' || (peek() == ' ' && spec.sign != '+')) spec.sign = peek();
      if (peek() == '#') spec.alternate = true;
      if (peek() == '0') zero = true;
    }
    spec.width = number();
    if (peek() == '.') {
      ++at_;
      spec.precision = static_cast<int>(std::min<std::size_t>(number(), kWidest));
    }
    while (peek() == 'h' || peek() == 'l' || peek() == 'L') ++at_;
    spec.type = peek();
    if (spec.type == '\0') refuse("incomplete format");
    ++at_;
    if (spec.type == '%') return append(Text("%"));
    if (zero && spec.align != '<') {
      spec.align = '=';
      spec.fill.assign(1, '0');
    }
    const Value& value = named != nullptr ? *named : next();
    if (std::string_view("sra").find(spec.type) != std::string_view::npos) return put_text(value, spec);
    if (spec.type == 'c') return put_character(value, spec);
    put_number(value, spec);
  }

  void put_text(const Value& value, const NumberFormat& spec) {
    if (spec.type == 'a') refuse("the format %a is not one that lrqat has");
    Text text = spec.type == 'r'  ? Text(repr(value, runtime_.budget))
                : value.is_text() ? value.text()
                                  : to_text(value, runtime_.budget);
    if (format_.markup()) text = escaped(text, runtime_.budget);
    if (spec.precision >= 0) {
      text = text.part(0, character_offset(text.bytes(), static_cast<std::size_t>(spec.precision)));
    }
    const std::size_t size = count_characters(text.bytes());
    const std::size_t missing = spec.width > size ? spec.width - size : 0;
    append(
        padded(text, spec.align == '<' ? 0 : missing, spec.align == '<' ? missing : 0, " ", runtime_.budget));
  }

  void put_character(const Value& value, NumberFormat spec) {
    std::string character;
    if (value.is_whole() && value.integer() >= 0 && value.integer() < 0x110000) {
      append_utf8(character, static_cast<char32_t>(value.integer()));
    } else if (value.is_text() && count_characters(value.bytes()) == 1) {
      character = value.bytes();
    } else {
      refuse("%c requires int or char");
    }
    spec.precision = -1;
    spec.type = 's';
    put_text(Text(character), spec);
  }

  void put_number(const Value& value, NumberFormat spec) {
    if (value.is_undefined()) value.raise_undefined();
    if (!value.is_number())
      refuse("%", spec.type, " format: a real number is required, not ", value.type_name());
    std::string digits;
    bool negative = value.is_whole() ? value.integer() < 0 : std::signbit(value.real());
    if (std::string_view("diuxXo").find(spec.type) != std::string_view::npos) {
      const bool whole = value.is_whole();
      if (!whole && std::string_view("diu").find(spec.type) == std::string_view::npos) {
        refuse("%", spec.type, " format: an integer is required, not float");
      }
      if (!whole && !(std::fabs(value.real()) < 0x1p63))
        refuse("cannot convert float ", repr_of_float(value.real()), " to integer");
      const std::int64_t number = whole ? value.integer() : static_cast<std::int64_t>(value.real());
      negative = number < 0;
      digits = integer_digits(number, spec);
      const std::size_t prefix =
          spec.alternate && std::string_view("xXo").find(spec.type) != std::string_view::npos ? 2 : 0;
      const auto least = static_cast<std::size_t>(std::max(spec.precision, 0));
      runtime_.budget.allocate(least);
      if (digits.size() - prefix < least)
        digits.insert(prefix, std::string(least - digits.size() + prefix, '0'));
    } else if (std::string_view("eEfFgG").find(spec.type) != std::string_view::npos) {
      if (spec.precision > kMostDigits) refuse("more than ", kMostDigits, " digits behind the point");
      digits = real_digits(value.real(), spec);
      if (spec.fill == "0" && !std::isfinite(value.real())) spec.fill.assign(1, ' '), spec.align = '>';
    } else {
      refuse("unsupported format character '", spec.type, "'");
    }
    runtime_.budget.allocate(spec.width);
    append(Text(arranged(negative, digits, spec)));
  }

  void append(const Text& text) {
    runtime_.budget.allocate(text.size());
    out_.append(text);
  }

  const Text& format_;
  const Value& values_;
  Runtime& runtime_;
  Text out_;
  std::size_t at_ = 0;
  std::size_t next_ = 0;
  bool used_ = false;
};

}  // namespace

Value percent_format(const Text& format, const Value& values, Runtime& runtime) {
  return PercentFormat(format, values, runtime).run();
}

}  // namespace lrqat::chat
