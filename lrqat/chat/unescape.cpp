#include "lrqat/chat/unescape.h"

#include <algorithm>
#include <charconv>

#include "lrqat/base/utf8.h"
#include "lrqat/chat/characters.h"

namespace lrqat::chat {
namespace {

std::string hexadecimal(char32_t c) {
  const int digits = c < 0x100 ? 2 : c < 0x10000 ? 4 : 8;
  std::string out(1, digits == 2 ? 'x' : digits == 4 ? 'u' : 'U');
  for (int i = digits - 1; i >= 0; --i) out += "0123456789abcdef"[c >> (4 * i) & 15U];
  return out;
}

// \xhh, \uhhhh, \Uhhhhhhhh; `at` stands on the letter and moves behind the digits.
bool append_code(std::string_view literal, std::size_t& at, std::string& out) {
  const std::size_t size = literal[at] == 'x' ? 2 : literal[at] == 'u' ? 4 : 8;
  const std::string_view digits = literal.substr(std::min(at + 1, literal.size()), size);
  unsigned code = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), code, 16);
  if (digits.size() != size || error != std::errc() || end != digits.data() + size || code > 0x10FFFF)
    return false;
  append_utf8(out, code);
  at += 1 + size;
  return true;
}

}  // namespace

std::string unescape(std::string_view literal, std::string& out) {
  constexpr std::string_view kLetters = "\\'\"abfnrtv", kMeanings = "\\'\"\a\b\f\n\r\t\v";
  for (std::size_t at = 0; at < literal.size();) {
    if (literal[at] != '\\') {
      out += literal[at++];
      continue;
    }
    const char c = ++at < literal.size() ? literal[at] : '\0';
    const std::size_t known = kLetters.find(c);
    if (c == '\n') {
      ++at;  // a line that goes on
    } else if (c != '\0' && known != std::string_view::npos) {
      out += kMeanings[known];
      ++at;
    } else if (c >= '0' && c <= '7') {
      char32_t code = 0;
      for (int i = 0; i < 3 && at < literal.size() && literal[at] >= '0' && literal[at] <= '7'; ++i) {
        code = code * 8 + static_cast<char32_t>(literal[at++] - '0');
      }
      append_utf8(out, code);
    } else if (c == 'x' || c == 'u' || c == 'U') {
      if (!append_code(literal, at, out)) return std::string("truncated escape \\") + c;
    } else if (c == 'N') {
      return "the escape \\N is not one that lrqat has; write the character itself";
    } else if (static_cast<unsigned char>(c) >= 0x80) {
      // jinja2 writes the character as an escape before it reads them, so that the backslash escapes a
      // backslash.
      out += '\\';
      out += hexadecimal(next_character(literal, at));
    } else {
      out += '\\';
    }
  }
  return {};
}

}  // namespace lrqat::chat
