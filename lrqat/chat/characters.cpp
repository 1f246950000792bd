#include "lrqat/chat/characters.h"

#include <utf8proc.h>

#include <algorithm>
#include <vector>

#include "lrqat/base/utf8.h"
#include "lrqat/chat/character_tables.h"

namespace lrqat::chat {
namespace {

utf8proc_int32_t code(char32_t character) { return static_cast<utf8proc_int32_t>(character); }

utf8proc_category_t category(char32_t character) { return utf8proc_category(code(character)); }

bool is_cased(char32_t c) { return is_lower(c) || is_upper(c) || is_title(c); }

// Unicode's Case_Ignorable: what may stand between a letter and the end of its word.
bool is_case_ignorable(char32_t c) {
  for (const char32_t mark :
       {U'\'', U'.', U':', U'\u00b7', U'\u0387', U'\u055f', U'\u05f4', U'\u2018', U'\u2019', U'\u2024',
        U'\u2027', U'\ufe13', U'\ufe52', U'\ufe55', U'\uff07', U'\uff0e', U'\uff1a'}) {
    if (c == mark) return true;
  }
  switch (category(c)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK:
      return true;
    default:
      return false;
  }
}

// A capital sigma is a final one (ς) where a letter stands before it and none behind.
bool is_final_sigma(std::string_view text, std::size_t begin, std::size_t end) {
  bool before = false;
  for (std::size_t at = begin; at > 0;) {
    const char32_t c = previous_character(text, at);
    if (is_case_ignorable(c)) continue;
    before = is_cased(c);
    break;
  }
  if (!before) return false;
  for (std::size_t at = end; at < text.size();) {
    const char32_t c = next_character(text, at);
    if (!is_case_ignorable(c)) return !is_cased(c);
  }
  return true;
}

// The lower case of the character of `text` between the two offsets.
void append_lower(std::string& out, std::string_view text, std::size_t begin, std::size_t end, char32_t c) {
  if (c < 0x80) {
    out += static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  } else if (c == 0x130) {
    out += "i\xCC\x87";
  } else if (c == 0x3A3) {
    out += is_final_sigma(text, begin, end) ? "\xCF\x82" : "\xCF\x83";
  } else {
    append_utf8(out, static_cast<char32_t>(utf8proc_tolower(code(c))));
  }
}

void append_upper(std::string& out, char32_t c) {
  if (const auto special = special_upper(c)) {
    out += *special;
  } else {
    append_utf8(out, static_cast<char32_t>(utf8proc_toupper(code(c))));
  }
}

void append_title(std::string& out, char32_t c) {
  if (const auto special = special_title(c)) {
    out += *special;
  } else {
    append_utf8(out, static_cast<char32_t>(utf8proc_totitle(code(c))));
  }
}

// Calls visit(character, begin, end) for each character.
template <typename Visit>
void for_each_character(std::string_view text, const Visit& visit) {
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t begin = at;
    const char32_t c = next_character(text, at);
    visit(c, begin, at);
  }
}

template <typename Belongs>
Part stripped_where(std::string_view text, bool left, bool right, const Belongs& belongs) {
  Part part{0, text.size()};
  while (left && part.begin < part.end) {
    std::size_t next = part.begin;
    if (!belongs(next_character(text, next))) break;
    part.begin = next;
  }
  while (right && part.begin < part.end) {
    std::size_t before = part.end;
    if (!belongs(previous_character(text, before))) break;
    part.end = before;
  }
  return part;
}

}  // namespace

char32_t next_character(std::string_view text, std::size_t& position) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[position + i]); };
  const unsigned lead = byte(0);
  const std::size_t length = lead < 0xC0 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  char32_t character = length == 1 ? lead : lead & (0x7FU >> length);
  if (position + length > text.size()) return ++position, lead;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0U) != 0x80) return ++position, lead;
    character = character << 6 | (byte(i) & 0x3FU);
  }
  position += length;
  return std::min(character, char32_t{0x10FFFF});
}

char32_t previous_character(std::string_view text, std::size_t& position) {
  const std::size_t end = position;
  for (std::size_t length = std::min<std::size_t>(end, 4); length > 0; --length) {
    std::size_t at = end - length;
    const char32_t character = next_character(text, at);
    if (at != end) continue;
    position = end - length;
    return character;
  }
  return static_cast<unsigned char>(text[--position]);
}

std::size_t count_characters(std::string_view text) {
  std::size_t count = 0;
  for (std::size_t at = 0; at < text.size(); ++count) next_character(text, at);
  return count;
}

std::size_t character_offset(std::string_view text, std::size_t number) {
  std::size_t at = 0;
  while (number > 0 && at < text.size()) {
    next_character(text, at);
    --number;
  }
  return at;
}

bool is_space(char32_t c) {
  if (c < 0x80) return c == ' ' || (c >= 9 && c <= 13) || (c >= 0x1C && c <= 0x1F);
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
         c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool is_line_break(char32_t c) {
  return (c >= 10 && c <= 13) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

bool is_alpha(char32_t c) {
  return category(c) >= UTF8PROC_CATEGORY_LU && category(c) <= UTF8PROC_CATEGORY_LO;
}
bool is_decimal(char32_t c) { return category(c) == UTF8PROC_CATEGORY_ND; }
bool is_digit(char32_t c) { return is_decimal(c) || has_digit_value(c); }
bool is_lower(char32_t c) { return category(c) == UTF8PROC_CATEGORY_LL || is_other_lower(c); }
bool is_upper(char32_t c) { return category(c) == UTF8PROC_CATEGORY_LU || is_other_upper(c); }
bool is_title(char32_t c) { return category(c) == UTF8PROC_CATEGORY_LT; }

bool is_numeric(char32_t c) {
  return (category(c) >= UTF8PROC_CATEGORY_ND && category(c) <= UTF8PROC_CATEGORY_NO) || has_numeric_value(c);
}

bool is_printable(char32_t c) {
  if (c == ' ') return true;
  const utf8proc_category_t kind = category(c);
  return kind != UTF8PROC_CATEGORY_CN && (kind < UTF8PROC_CATEGORY_ZS || kind > UTF8PROC_CATEGORY_CO);
}

bool is_identifier(std::string_view text) {
  bool first = true, ok = !text.empty();
  for_each_character(text, [&](char32_t c, std::size_t, std::size_t) {
    const bool start = c == '_' || is_alpha(c) || category(c) == UTF8PROC_CATEGORY_NL;
    const bool inside = is_decimal(c) || category(c) == UTF8PROC_CATEGORY_MN ||
                        category(c) == UTF8PROC_CATEGORY_MC || category(c) == UTF8PROC_CATEGORY_PC;
    ok = ok && (start || (!first && inside));
    first = false;
  });
  return ok;
}

std::string upper_case(std::string_view text) {
  std::string out;
  for_each_character(text, [&](char32_t c, std::size_t, std::size_t) { append_upper(out, c); });
  return out;
}

std::string lower_case(std::string_view text) {
  std::string out;
  for_each_character(
      text, [&](char32_t c, std::size_t begin, std::size_t end) { append_lower(out, text, begin, end, c); });
  return out;
}

std::string title_case(std::string_view text) {
  std::string out;
  bool inside = false;  // behind a letter that has cases
  for_each_character(text, [&](char32_t c, std::size_t begin, std::size_t end) {
    if (inside) {
      append_lower(out, text, begin, end, c);
    } else {
      append_title(out, c);
    }
    inside = is_cased(c);
  });
  return out;
}

std::string capitalized(std::string_view text) {
  std::string out;
  for_each_character(text, [&](char32_t c, std::size_t begin, std::size_t end) {
    if (begin == 0) {
      append_title(out, c);
    } else {
      append_lower(out, text, begin, end, c);
    }
  });
  return out;
}

std::string swapped_case(std::string_view text) {
  std::string out;
  for_each_character(text, [&](char32_t c, std::size_t begin, std::size_t end) {
    if (is_upper(c)) {
      append_lower(out, text, begin, end, c);
    } else if (is_lower(c)) {
      append_upper(out, c);
    } else {
      append_utf8(out, c);
    }
  });
  return out;
}

std::string case_folded(std::string_view text) {
  std::string out;
  for_each_character(text, [&](char32_t c, std::size_t, std::size_t) {
    if (c >= 0x13A0 && c <= 0x13F5) return append_utf8(out, c);  // Cherokee folds to upper case
    if (c >= 0x13F8 && c <= 0x13FD) return append_utf8(out, c - 8);
    if (c >= 0xAB70 && c <= 0xABBF) return append_utf8(out, c - 0xAB70 + 0x13A0);
    if (const auto special = special_fold(c)) {
      out += *special;
    } else if (c == 0x130) {
      out += "i\xCC\x87";
    } else {
      append_utf8(out, static_cast<char32_t>(utf8proc_tolower(code(c))));
    }
  });
  return out;
}

Part stripped(std::string_view text, bool left, bool right) {
  return stripped_where(text, left, right, is_space);
}

Part stripped(std::string_view text, bool left, bool right, std::string_view characters) {
  std::vector<char32_t> set;
  for_each_character(characters, [&](char32_t c, std::size_t, std::size_t) { set.push_back(c); });
  return stripped_where(text, left, right,
                        [&](char32_t c) { return std::find(set.begin(), set.end(), c) != set.end(); });
}

}  // namespace lrqat::chat
