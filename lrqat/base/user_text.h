// What users wrote, as messages show it: never longer than a line or two, never with control characters,
// whatever a file or a command line held.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace lrqat {

// In quotation marks; a long text by its beginning, its end and its size, control characters as escapes. (Not
// named `quoted`: for a std::string the compiler would take std::quoted.)
std::string quote(std::string_view text);

// A whole message: long words (numbers of hundreds of digits, encoded data) and long messages lose their
// middle, control characters but line ends become escapes.
std::string readable(std::string_view message);

// "; did you mean WORD?" with the known word nearest to `word`; empty where none is near.
std::string did_you_mean(std::string_view word, std::span<const std::string> known);

}  // namespace lrqat
