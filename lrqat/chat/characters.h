// Characters of UTF-8 as Python's strings have them: counted, classified and changed by code points. Bytes
// that are no UTF-8 count as a character each.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace lrqat::chat {

char32_t next_character(std::string_view text, std::size_t& position);  // moves behind it
char32_t previous_character(std::string_view text,
                            std::size_t& position);  // position > 0; moves to its begin
std::size_t count_characters(std::string_view text);
// The byte where the character of that number begins; text.size() where there are not so many.
std::size_t character_offset(std::string_view text, std::size_t number);

// str.isspace, and what strip() and split() take for white space.
bool is_space(char32_t character);
bool is_line_break(char32_t character);  // of str.splitlines
bool is_alpha(char32_t character);
bool is_decimal(char32_t character);
bool is_digit(char32_t character);
bool is_numeric(char32_t character);
bool is_lower(char32_t character);
bool is_upper(char32_t character);
bool is_title(char32_t character);
bool is_printable(char32_t character);
bool is_identifier(std::string_view text);

// str.upper, lower, title, capitalize, swapcase, casefold.
std::string upper_case(std::string_view text);
std::string lower_case(std::string_view text);
std::string title_case(std::string_view text);
std::string capitalized(std::string_view text);
std::string swapped_case(std::string_view text);
std::string case_folded(std::string_view text);

// Text without white space at its begin and its end: the part of it, in bytes.
struct Part {
  std::size_t begin;
  std::size_t end;
};
Part stripped(std::string_view text, bool left, bool right);
// The same with a set of characters instead.
Part stripped(std::string_view text, bool left, bool right, std::string_view characters);

}  // namespace lrqat::chat
