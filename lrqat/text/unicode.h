// UTF-8 and the few character classes and normal forms that tokenizers ask for.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace lrqat::text {

inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";  // U+FFFD
inline constexpr std::string_view kMetaSpace = "\xE2\x96\x81";             // U+2581, SentencePiece's space

bool is_valid_utf8(std::string_view text);
std::size_t valid_utf8_length(std::string_view text);  // bytes in front of the first broken part

// `text` with each maximal broken part replaced by U+FFFD (Unicode 15, section 3.9, table 3-7; the same as
// Python's errors="replace" and Rust's from_utf8_lossy).
std::string replace_invalid_utf8(std::string_view text);

// Length of the run of ASCII bytes at `position`, eight at a time.
std::size_t ascii_run(std::string_view text, std::size_t position);

// Bytes of the character that starts with `lead`, in valid UTF-8.
inline std::size_t utf8_length(char lead) {
  const auto byte = static_cast<unsigned char>(lead);
  return byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

// The character at `position` of valid UTF-8; moves `position` past it.
char32_t next_character(std::string_view text, std::size_t& position);
// The character before `position` > 0; moves `position` to its start.
char32_t previous_character(std::string_view text, std::size_t& position);

bool is_white_space(char32_t character);  // the property White_Space
// In the Unicode versions of unicode_versions.h, as all that follows.
bool is_numeric(char32_t character);      // general categories Nd, Nl, No
bool is_punctuation(char32_t character);  // ASCII punctuation and general categories P*
bool is_mark(char32_t character);         // general categories Mn, Mc, Me

enum class NormalForm { kNfc, kNfd, kNfkc, kNfkd };
std::string normalize(std::string_view text, NormalForm form);
std::string capitalize(std::string_view text);  // Python's str.capitalize: title case, then lower case
std::string to_lower(std::string_view text);    // full mapping of single characters, without context

}  // namespace lrqat::text
