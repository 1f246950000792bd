// The Unicode versions of Hugging Face `tokenizers` 0.23, whose parts have a version each: regular
// expressions (Oniguruma) 16, normal forms and marks 9, punctuation 8, lower case and numbers (Rust) 17. What
// a character is to each of them, where PCRE2 10.42 (Unicode 14) or utf8proc 2.8 (Unicode 15) would say
// something else; libraries of up to Unicode 16 change nothing in it. tests/outsiders/characters_test.py
// compares every character with `tokenizers`.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace lrqat::text {

// `text` with each character that is new in Unicode 15 to 16 replaced by an older one of as many bytes, with
// its general category and, where an older one has it, its script: what a regular expression is matched
// against, at the same offsets. nullopt where there is none, as nearly always.
std::optional<std::string> with_older_characters(std::string_view text);

// Characters newer than Unicode 9 that later versions decompose, compose or reorder.
bool is_unknown_to_normal_forms(char32_t character);
bool is_unknown_mark(char32_t character);         // newer than Unicode 9
bool is_unknown_punctuation(char32_t character);  // newer than Unicode 8

// Of characters new in Unicode 15 to 17; nullopt where utf8proc knows.
std::optional<char32_t> newer_lower_case(char32_t character);
bool is_newer_number(char32_t character);

}  // namespace lrqat::text
