// Code points as UTF-8.
#pragma once

#include <string>

namespace lrqat {

// Appends the one to four bytes of a code point up to U+10FFFF; a half of a surrogate pair becomes its three.
void append_utf8(std::string& out, char32_t character);

}  // namespace lrqat
