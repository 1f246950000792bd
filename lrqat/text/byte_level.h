// GPT-2's byte alphabet: every byte is written as one printable character, so that vocabularies are plain
// text (encoder.py of openai/gpt-2, bytes_to_unicode). 0x20 becomes "Ġ".
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace lrqat::text {

// The character of each byte, as UTF-8.
const std::array<std::string, 256>& byte_characters();

std::string to_byte_level(std::string_view text);

// The bytes that `piece` stands for; nullopt where it has a character outside the alphabet.
std::optional<std::string> from_byte_level(std::string_view piece);

}  // namespace lrqat::text
