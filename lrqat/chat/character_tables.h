// The characters for which Python's strings know more than general categories and simple case mappings.
#pragma once

#include <optional>
#include <string_view>

namespace lrqat::chat {

// Mappings to several characters (Unicode's SpecialCasing.txt, CaseFolding.txt); nullopt: the simple one
// holds.
std::optional<std::string_view> special_upper(char32_t character);
std::optional<std::string_view> special_title(char32_t character);
std::optional<std::string_view> special_fold(char32_t character);

bool has_digit_value(char32_t character);    // that are not of category Nd
bool has_numeric_value(char32_t character);  // that are not of category N
bool is_other_lower(char32_t character);     // property Other_Lowercase
bool is_other_upper(char32_t character);     // property Other_Uppercase

}  // namespace lrqat::chat
