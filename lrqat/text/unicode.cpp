#include "lrqat/text/unicode.h"

#include <utf8proc.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "lrqat/base/error.h"
#include "lrqat/base/utf8.h"
#include "lrqat/text/unicode_versions.h"

namespace lrqat::text {
namespace {

// How many bytes at `position` are valid: the whole character (`complete`), or the part of it to be replaced.
struct Step {
  std::size_t length;
  bool complete;
};

// Unicode table 3-7: the second byte's range depends on the first; every later byte is 80..BF.
Step valid_step(std::string_view text, std::size_t position) {
  const auto lead = static_cast<unsigned char>(text[position]);
  if (lead < 0x80) return {1, true};
  if (lead < 0xC2 || lead > 0xF4) return {1, false};
  const std::size_t length = utf8_length(static_cast<char>(lead));
  unsigned low = 0x80;
  unsigned high = 0xBF;
  if (lead == 0xE0) low = 0xA0;
  if (lead == 0xED) high = 0x9F;
  if (lead == 0xF0) low = 0x90;
  if (lead == 0xF4) high = 0x8F;
  for (std::size_t i = 1; i < length; ++i) {
    if (position + i >= text.size()) return {i, false};
    const auto byte = static_cast<unsigned char>(text[position + i]);
    if (byte < low || byte > high) return {i, false};
    low = 0x80;
    high = 0xBF;
  }
  return {length, true};
}

bool has_category(char32_t character, utf8proc_category_t first, utf8proc_category_t last) {
  const utf8proc_category_t category = utf8proc_category(static_cast<utf8proc_int32_t>(character));
  return category >= first && category <= last;
}

std::string normalize_known(std::string_view text, NormalForm form) {
  int options = UTF8PROC_STABLE;
  const bool compose = form == NormalForm::kNfc || form == NormalForm::kNfkc;
  options |= compose ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE;
  if (form == NormalForm::kNfkc || form == NormalForm::kNfkd) options |= UTF8PROC_COMPAT;
  utf8proc_uint8_t* mapped = nullptr;
  const auto length = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                   static_cast<utf8proc_ssize_t>(text.size()), &mapped,
                                   static_cast<utf8proc_option_t>(options));
  if (length < 0) fail("Unicode normalisation of ", text.size(), " bytes failed: ", utf8proc_errmsg(length));
  std::string out(reinterpret_cast<const char*>(mapped), static_cast<std::size_t>(length));
  std::free(mapped);
  return out;
}

}  // namespace

std::size_t ascii_run(std::string_view text, std::size_t position) {
  const std::size_t start = position;
  std::uint64_t word = 0;
  while (position + 8 <= text.size()) {
    std::memcpy(&word, text.data() + position, 8);
    if ((word & 0x8080808080808080ULL) != 0) break;
    position += 8;
  }
  while (position < text.size() && static_cast<unsigned char>(text[position]) < 0x80) ++position;
  return position - start;
}

std::size_t valid_utf8_length(std::string_view text) {
  std::size_t i = 0;
  while (i < text.size()) {
    i += ascii_run(text, i);
    if (i >= text.size()) break;
    const Step step = valid_step(text, i);
    if (!step.complete) break;
    i += step.length;
  }
  return i;
}

bool is_valid_utf8(std::string_view text) { return valid_utf8_length(text) == text.size(); }

std::string replace_invalid_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    const Step step = valid_step(text, i);
    out.append(step.complete ? text.substr(i, step.length) : kReplacementCharacter);
    i += step.length;
  }
  return out;
}

char32_t next_character(std::string_view text, std::size_t& position) {
  const std::size_t length = utf8_length(text[position]);
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[position + i]) & 0x3FU; };
  char32_t character = static_cast<unsigned char>(text[position]);
  if (length == 2) character = ((character & 0x1FU) << 6) | byte(1);
  if (length == 3) character = ((character & 0x0FU) << 12) | (byte(1) << 6) | byte(2);
  if (length == 4) character = ((character & 0x07U) << 18) | (byte(1) << 12) | (byte(2) << 6) | byte(3);
  position += length;
  return character;
}

char32_t previous_character(std::string_view text, std::size_t& position) {
  do {
    --position;
  } while (position > 0 && (static_cast<unsigned char>(text[position]) & 0xC0U) == 0x80U);
  std::size_t copy = position;
  return next_character(text, copy);
}

bool is_white_space(char32_t c) {
  if (c < 0x80) return c == ' ' || (c >= '\t' && c <= '\r');
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
         c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool is_numeric(char32_t c) {
  if (c < 0x80) return c >= '0' && c <= '9';
  return has_category(c, UTF8PROC_CATEGORY_ND, UTF8PROC_CATEGORY_NO) || is_newer_number(c);
}

bool is_punctuation(char32_t c) {
  if (c < 0x80)
    return (c > ' ' && c < '0') || (c > '9' && c < 'A') || (c > 'Z' && c < 'a') || (c > 'z' && c < 0x7F);
  if (c == 0x166D || c == 0x111C9) return true;  // no longer since Unicode 12 and 11
  return has_category(c, UTF8PROC_CATEGORY_PC, UTF8PROC_CATEGORY_PO) && !is_unknown_punctuation(c);
}

bool is_mark(char32_t c) {
  if (c == 0x1CF2 || c == 0x1CF3) return true;  // no longer since Unicode 12
  return has_category(c, UTF8PROC_CATEGORY_MN, UTF8PROC_CATEGORY_ME) && !is_unknown_mark(c);
}

// An unknown character stays as it is and keeps those on both sides of it apart.
std::string normalize(std::string_view text, NormalForm form) {
  if (ascii_run(text, 0) == text.size()) return std::string(text);
  std::string out;
  std::size_t known = 0;  // where the part begins that is not in `out` yet
  for (std::size_t i = 0; i < text.size();) {
    i += ascii_run(text, i);
    if (i >= text.size()) break;
    const std::size_t begin = i;
    if (!is_unknown_to_normal_forms(next_character(text, i))) continue;
    out.append(normalize_known(text.substr(known, begin - known), form))
        .append(text.substr(begin, i - begin));
    known = i;
  }
  return known == 0 ? normalize_known(text, form) : out + normalize_known(text.substr(known), form);
}

std::string to_lower(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    const char32_t c = next_character(text, i);
    if (c == 0x130) {  // the one character whose lower case is two characters: i and a combining dot above
      out.append("i\xCC\x87");
    } else {
      const auto known = static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c)));
      append_utf8(out, newer_lower_case(c).value_or(known));
    }
  }
  return out;
}

std::string capitalize(std::string_view text) {
  if (text.empty()) return {};
  std::size_t rest = 0;
  std::string out;
  const auto first = static_cast<utf8proc_int32_t>(next_character(text, rest));
  append_utf8(out, static_cast<char32_t>(utf8proc_totitle(first)));
  return out + to_lower(text.substr(rest));
}

}  // namespace lrqat::text
