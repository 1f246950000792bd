// Characters of different Unicode versions. Every character is held to `tokenizers` by
// tests/outsiders/characters_test.py; here is what must hold where it is not installed.
#include "lrqat/text/unicode.h"

#include <gtest/gtest.h>

#include "lrqat/base/utf8.h"
#include "lrqat/text/oniguruma.h"
#include "lrqat/text/pattern.h"
#include "lrqat/text/unicode_versions.h"

namespace lrqat::text {
namespace {

std::string utf8(char32_t character) {
  std::string out;
  append_utf8(out, character);
  return out;
}

Pattern pattern(const std::string& expression) {
  return Pattern(Regex(oniguruma_to_pcre2(expression, "test"), "test"));
}

TEST(UnicodeVersions, OlderCharactersHaveTheLengthOfThoseTheyStandFor) {
  std::size_t replaced = 0;
  for (char32_t c = 0x80; c < 0x110000; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    const std::string text = "a" + utf8(c) + "b";
    const std::optional<std::string> older = with_older_characters(text);
    if (!older) continue;
    ++replaced;
    ASSERT_EQ(older->size(), text.size()) << std::hex << static_cast<unsigned>(c);
    ASSERT_TRUE(is_valid_utf8(*older));
    ASSERT_EQ(older->front(), 'a');
    ASSERT_EQ(older->back(), 'b');
    ASSERT_FALSE(with_older_characters(*older)) << "a stand-in that needs one itself";
  }
  EXPECT_EQ(replaced, 10302U);  // new in Unicode 15, 15.1 and 16, and U+1171E, whose category changed
}

TEST(UnicodeVersions, ExpressionsFindNewerLettersAtTheirPlace) {
  const std::string letters = utf8(0x31350) + utf8(0x2EBF0);  // CJK extensions H and I
  const std::string text = "1 " + letters + "x!";
  const std::optional<Span> found = MatchIterator(pattern("\\p{L}+"), text).next();
  ASSERT_TRUE(found);
  EXPECT_EQ(text.substr(found->begin, found->end - found->begin), letters + "x");
  EXPECT_EQ(replace_all(pattern("\\p{N}"), text, "_"), "_ " + letters + "x!");
  EXPECT_EQ(replace_all(pattern("[^\\p{Han}]"), text, ""), letters);
}

TEST(UnicodeVersions, UnknownCharactersKeepTheirNeighboursApart) {
  const std::string unknown = utf8(0x1DF6);  // a mark of Unicode 10, class 232
  EXPECT_EQ(normalize("e\xCC\x81", NormalForm::kNfc), "\xC3\xA9");
  EXPECT_EQ(normalize("e" + unknown + "\xCC\x81", NormalForm::kNfc), "e" + unknown + "\xCC\x81");
  EXPECT_EQ(normalize(unknown + "e\xCC\x81" + unknown, NormalForm::kNfc), unknown + "\xC3\xA9" + unknown);
  EXPECT_EQ(normalize(utf8(0x32FF), NormalForm::kNfkc), utf8(0x32FF));  // Unicode 12.1
}

TEST(UnicodeVersions, ClassesOfCharacters) {
  EXPECT_TRUE(is_mark(0x301) && is_mark(0x1CF2));
  EXPECT_FALSE(is_mark(0x1DF6) || is_mark('a'));
  EXPECT_TRUE(is_punctuation('$') && is_punctuation(0x166D) && is_punctuation(0x3001));
  EXPECT_FALSE(is_punctuation(0x2E43) || is_punctuation(0x20AC));
  EXPECT_TRUE(is_numeric(0x10D40) && is_numeric(0x11DE9) && is_numeric(0xBD));
  EXPECT_FALSE(is_numeric(0x10D4A));
  EXPECT_EQ(to_lower(utf8(0x10D51) + "A" + utf8(0xA7DC)), utf8(0x10D71) + "a" + utf8(0x19B));
}

TEST(UnicodeVersions, WordCharactersAreOnigurumas) {
  const std::string text = "a\xC2\xB2\xE0\xA7\xB4_";  // superscript two, a Bengali fraction of category No
  EXPECT_EQ(replace_all(pattern("\\w"), text, ""), "\xE0\xA7\xB4");
  EXPECT_EQ(replace_all(pattern("[\\w]"), text, ""), "\xC2\xB2\xE0\xA7\xB4");
}

}  // namespace
}  // namespace lrqat::text
