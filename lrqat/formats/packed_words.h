// b-bit numbers in 32-bit words, one after another and lowest bit first: number i takes the bits
// [b·i, b·(i + 1)) of the row, across the border of two words where b does not divide 32. The storage of
// compressed-tensors (along in_features) and of GPTQ (the same, transposed).
#pragma once

#include <cstdint>
#include <span>

namespace lrqat::formats {

// ceil(count · num_bits / 32)
std::int64_t packed_word_count(std::int64_t count, int num_bits);

// values[i] < 2^num_bits, num_bits 1 to 8 (LRQAT_CHECK); words.size() is packed_word_count(values.size()),
// unused bits are 0.
void pack_words(std::span<const std::uint8_t> values, int num_bits, std::span<std::uint32_t> words);
void unpack_words(std::span<const std::uint32_t> words, int num_bits, std::span<std::uint8_t> values);

}  // namespace lrqat::formats
