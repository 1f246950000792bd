#include "lrqat/base/utf8.h"

namespace lrqat {

void append_utf8(std::string& out, char32_t c) {
  const auto add = [&](unsigned byte) { out += static_cast<char>(byte); };
  if (c < 0x80) return add(c);
  if (c < 0x800) return add(0xC0U | c >> 6), add(0x80U | (c & 0x3FU));
  if (c < 0x10000) {
    add(0xE0U | c >> 12);
  } else {
    add(0xF0U | c >> 18);
    add(0x80U | (c >> 12 & 0x3FU));
  }
  add(0x80U | (c >> 6 & 0x3FU));
  add(0x80U | (c & 0x3FU));
}

}  // namespace lrqat
