// b-bit numbers in 32-bit words: against a bit-by-bit reading of the rule, and words computed by hand.
#include "lrqat/formats/packed_words.h"

#include <gtest/gtest.h>

#include <vector>

#include "lrqat/base/error.h"
#include "lrqat/base/random.h"

namespace lrqat::formats {
namespace {

bool bit_of(const std::vector<std::uint32_t>& words, std::size_t bit) {
  return words[bit / 32] >> bit % 32 & 1U;
}

TEST(PackedWords, EveryWidthAndLength) {
  Random random(5);
  for (int bits = 1; bits <= 8; ++bits) {
    for (std::size_t count = 0; count < 100; ++count) {
      std::vector<std::uint8_t> values(count);
      for (auto& value : values) value = static_cast<std::uint8_t>(random.below(std::uint64_t{1} << bits));
      std::vector<std::uint32_t> words(
          static_cast<std::size_t>(packed_word_count(static_cast<std::int64_t>(count), bits)), 0xffffffffU);
      pack_words(values, bits, words);
      for (std::size_t i = 0; i < 32 * words.size(); ++i) {
        const std::size_t number = i / static_cast<std::size_t>(bits),
                          place = i % static_cast<std::size_t>(bits);
        ASSERT_EQ(bit_of(words, i), number < count && (values[number] >> place & 1) != 0) << bits << " " << i;
      }
      std::vector<std::uint8_t> back(count);
      unpack_words(words, bits, back);
      ASSERT_EQ(back, values);
    }
  }
}

TEST(PackedWords, WordsByHand) {
  std::vector<std::uint32_t> words(1);
  pack_words(std::vector<std::uint8_t>{1, 2, 3, 4, 5, 6, 7, 8}, 4, words);
  EXPECT_EQ(words[0], 0x87654321U);
  // Eleven 3-bit numbers: the last one lies across the border, its low two bits in the first word.
  std::vector<std::uint32_t> two(2);
  pack_words(std::vector<std::uint8_t>{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7}, 3, two);
  EXPECT_EQ(two[0], 0xc0000000U);
  EXPECT_EQ(two[1], 1U);
}

TEST(PackedWords, RefusesWhatDoesNotFit) {
  std::vector<std::uint32_t> words(1);
  EXPECT_THROW(pack_words(std::vector<std::uint8_t>{8}, 3, words), InternalError);
  EXPECT_THROW(pack_words(std::vector<std::uint8_t>(9), 4, words), InternalError);
  EXPECT_THROW(pack_words(std::vector<std::uint8_t>(1), 9, words), InternalError);
}

}  // namespace
}  // namespace lrqat::formats
