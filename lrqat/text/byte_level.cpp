#include "lrqat/text/byte_level.h"

#include "lrqat/base/utf8.h"
#include "lrqat/text/unicode.h"

namespace lrqat::text {
namespace {

// Printable Latin-1 bytes stand for themselves, the others for U+0100 onwards in order.
bool is_printable(unsigned byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || (byte >= 0xAE && byte <= 0xFF);
}

std::array<char32_t, 256> byte_to_character() {
  std::array<char32_t, 256> table{};
  char32_t next = 0x100;
  for (unsigned byte = 0; byte < 256; ++byte) table[byte] = is_printable(byte) ? byte : next++;
  return table;
}

constexpr char32_t kAlphabetEnd = 0x144;  // 256 + 68 bytes that are not printable

}  // namespace

const std::array<std::string, 256>& byte_characters() {
  static const std::array<std::string, 256> table = [] {
    const std::array<char32_t, 256> characters = byte_to_character();
    std::array<std::string, 256> out;
    for (std::size_t byte = 0; byte < 256; ++byte) append_utf8(out[byte], characters[byte]);
    return out;
  }();
  return table;
}

std::string to_byte_level(std::string_view text) {
  const auto& characters = byte_characters();
  std::string out;
  out.reserve(text.size() + text.size() / 2);
  for (const char byte : text) out += characters[static_cast<unsigned char>(byte)];
  return out;
}

std::optional<std::string> from_byte_level(std::string_view piece) {
  static const std::array<int, kAlphabetEnd> bytes = [] {
    std::array<int, kAlphabetEnd> table{};
    table.fill(-1);
    const std::array<char32_t, 256> characters = byte_to_character();
    for (int byte = 0; byte < 256; ++byte) table[characters[static_cast<std::size_t>(byte)]] = byte;
    return table;
  }();
  std::string out;
  for (std::size_t i = 0; i < piece.size();) {
    const char32_t c = next_character(piece, i);
    if (c >= kAlphabetEnd || bytes[c] < 0) return std::nullopt;
    out.push_back(static_cast<char>(bytes[c]));
  }
  return out;
}

}  // namespace lrqat::text
