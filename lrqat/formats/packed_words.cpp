#include "lrqat/formats/packed_words.h"

#include <algorithm>

#include "lrqat/base/error.h"

namespace lrqat::formats {
namespace {

constexpr int kWordBits = 32;

void check_sizes(std::size_t values, std::size_t words, int num_bits) {
  LRQAT_CHECK(num_bits >= 1 && num_bits <= 8, num_bits, " bits");
  LRQAT_CHECK(
      static_cast<std::int64_t>(words) == packed_word_count(static_cast<std::int64_t>(values), num_bits),
      values, " values of ", num_bits, " bits in ", words, " words");
}

}  // namespace

std::int64_t packed_word_count(std::int64_t count, int num_bits) {
  return (count * num_bits + kWordBits - 1) / kWordBits;
}

void pack_words(std::span<const std::uint8_t> values, int num_bits, std::span<std::uint32_t> words) {
  check_sizes(values.size(), words.size(), num_bits);
  std::fill(words.begin(), words.end(), 0U);
  std::size_t word = 0;
  int bit = 0;  // of the word: where the next number begins
  for (const std::uint8_t value : values) {
    LRQAT_CHECK(value >> num_bits == 0, static_cast<int>(value), " is not ", num_bits, " bits wide");
    words[word] |= static_cast<std::uint32_t>(value) << bit;
    bit += num_bits;
    if (bit < kWordBits) continue;
    bit -= kWordBits;
    ++word;
    if (bit > 0) words[word] = static_cast<std::uint32_t>(value) >> (num_bits - bit);
  }
}

void unpack_words(std::span<const std::uint32_t> words, int num_bits, std::span<std::uint8_t> values) {
  check_sizes(values.size(), words.size(), num_bits);
  const std::uint32_t mask = (1U << num_bits) - 1U;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::size_t begin = i * static_cast<std::size_t>(num_bits);
    const std::size_t word = begin / kWordBits, bit = begin % kWordBits;
    std::uint64_t bits = words[word];
    if (bit + static_cast<std::size_t>(num_bits) > kWordBits) {
      bits |= static_cast<std::uint64_t>(words[word + 1]) << kWordBits;
    }
    values[i] = static_cast<std::uint8_t>(bits >> bit & mask);
  }
}

}  // namespace lrqat::formats
