// str() and repr() of values.
#include <charconv>
#include <cmath>

#include "lrqat/base/utf8.h"
#include "lrqat/chat/characters.h"
#include "lrqat/chat/operations.h"

namespace lrqat::chat {
namespace {

std::string hexadecimal(char32_t character, int digits) {
  std::string out;
  for (int i = digits - 1; i >= 0; --i) out += "0123456789abcdef"[character >> (4 * i) & 15U];
  return out;
}

void append_repr_of_character(std::string& out, char32_t c, char quote) {
  if (c == static_cast<char32_t>(quote) || c == '\\') {
    out += '\\';
    append_utf8(out, c);
  } else if (c == '\n') {
    out += "\\n";
  } else if (c == '\r') {
    out += "\\r";
  } else if (c == '\t') {
    out += "\\t";
  } else if (is_printable(c)) {
    append_utf8(out, c);
  } else {
    out += c < 0x100     ? "\\x" + hexadecimal(c, 2)
           : c < 0x10000 ? "\\u" + hexadecimal(c, 4)
                         : "\\U" + hexadecimal(c, 8);
  }
}

std::string repr_of_items(const std::vector<Value>& items, Budget& budget) {
  std::string out;
  for (const Value& item : items) {
    if (!out.empty()) out += ", ";
    out += repr(item, budget);
  }
  return out;
}

std::string repr_of_dict(const Dict& dict, Budget& budget) {
  std::string out = "{";
  for (const auto& [key, value] : dict.entries()) {
    if (out.size() > 1) out += ", ";
    out += repr(key, budget);
    out += ": ";
    out += repr(value, budget);
  }
  return out + "}";
}

}  // namespace

// The shortest digits that read back as the same number; an exponent below 1e-4 and from 1e16 on.
std::string repr_of_float(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  char buffer[64];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific).ptr;
  std::string text(buffer, end);
  const std::size_t e = text.find('e');
  const int exponent = std::stoi(text.substr(e + 1));
  if (exponent < -4 || exponent >= 16) return text;  // its exponent has two digits at least, as Python's
  const std::string sign = text[0] == '-' ? "-" : "";
  std::string digits;
  for (const char c : text.substr(0, e)) {
    if (c >= '0' && c <= '9') digits += c;
  }
  if (exponent < 0) return sign + "0." + std::string(static_cast<std::size_t>(-exponent - 1), '0') + digits;
  const auto whole = static_cast<std::size_t>(exponent) + 1;
  if (digits.size() <= whole) return sign + digits + std::string(whole - digits.size(), '0') + ".0";
  return sign + digits.substr(0, whole) + "." + digits.substr(whole);
}

std::string repr_of_text(const std::string& text) {
  const bool only_single = text.find('\'') != std::string::npos && text.find('"') == std::string::npos;
  const char quote = only_single ? '"' : '\'';
  std::string out(1, quote);
  for (std::size_t at = 0; at < text.size();) append_repr_of_character(out, next_character(text, at), quote);
  return out + quote;
}

std::string repr(const Value& value, Budget& budget) {
  const Budget::Level level(budget);
  budget.step();
  std::string out;
  if (value.is_undefined()) {
    out = "Undefined";
  } else if (value.is_none()) {
    out = "None";
  } else if (value.is_bool()) {
    out = value.boolean() ? "True" : "False";
  } else if (value.is_integer()) {
    out = std::to_string(value.integer());
  } else if (value.is_float()) {
    out = repr_of_float(value.real());
  } else if (value.is_text()) {
    out = repr_of_text(value.bytes());
    if (value.text().markup()) out = concat("Markup(", out, ")");
  } else if (value.is_tuple()) {
    out = concat("(", repr_of_items(value.items(), budget), value.items().size() == 1 ? ",)" : ")");
  } else if (value.is_list()) {
    out = concat("[", repr_of_items(value.items(), budget), "]");
  } else if (value.is_dict()) {
    out = repr_of_dict(value.dict(), budget);
  } else {
    out = value.object()->text(budget);
  }
  budget.allocate(out.size());
  return out;
}

Text to_text(const Value& value, Budget& budget) {
  if (value.is_text()) return value.text().markup() ? value.text().with_markup(false) : value.text();
  if (value.is_undefined()) return {};
  return repr(value, budget);
}

Text escaped(const Value& value, Budget& budget) {
  const Text text = value.is_text() ? value.text() : to_text(value, budget);
  if (text.markup()) return text;
  std::string out;
  for (const char c : text.bytes()) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&#34;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  budget.allocate(out.size());
  return text.made(std::move(out)).with_markup(true);
}

}  // namespace lrqat::chat
