#include "lrqat/base/user_text.h"

#include <gtest/gtest.h>

#include <array>

namespace lrqat {
namespace {

TEST(UserText, QuotedIsShortAndPlain) {
  EXPECT_EQ(quote("abc"), "\"abc\"");
  EXPECT_EQ(quote("a\n\x1B[31m"), "\"a\\n\\x1B[31m\"");
  const std::string shown = quote(std::string(100'000, 'x'));
  EXPECT_LT(shown.size(), 200U);
  EXPECT_NE(shown.find("100000 bytes"), std::string::npos);
}

TEST(UserText, LongTextIsCutBetweenCharacters) {
  std::string text;
  for (int i = 0; i < 1000; ++i) text += "é";
  for (std::size_t lead = 0; lead < 3; ++lead) {
    const std::string shown = quote(std::string(lead, 'a') + text);
    for (std::size_t i = 0; i + 1 < shown.size(); ++i) {  // every first byte of é is followed by its second
      if (static_cast<unsigned char>(shown[i]) != 0xC3) continue;
      EXPECT_EQ(static_cast<unsigned char>(shown[i + 1]), 0xA9);
    }
  }
}

TEST(UserText, ReadableKeepsMessagesAndCutsFloods) {
  const std::string message = "a/path: 3 of 4, see\nthe next line";
  EXPECT_EQ(readable(message), message);
  EXPECT_LT(readable("x " + std::string(100'000, '9') + " y").size(), 200U);
  std::string words;
  for (int i = 0; i < 50'000; ++i) words += "ab ";
  EXPECT_LT(readable(words).size(), 4000U);
}

// What was cut once stays as it is when it is said again.
TEST(UserText, ReadableCutsNumbersThatMeanNothing) {
  const std::string digits(309, '9');
  for (const std::string& input : {digits, "--steps=" + digits, digits + "GB", std::string(200, '1')}) {
    const std::string said = readable("f.toml: " + input + ": expected a number");
    EXPECT_LT(said.size(), 100U) << said;
    EXPECT_EQ(said, readable(said));
    EXPECT_NE(said.find("expected a number"), std::string::npos) << said;
  }
  const std::string numbers = "of 18446744073709551615 and 1.7976931348623157e+308";
  EXPECT_EQ(readable(numbers), numbers);
}

TEST(UserText, TheNearestWordIsMeant) {
  const std::array<std::string, 3> known = {"--force", "--format", "--model"};
  EXPECT_EQ(did_you_mean("--frmat", known), "; did you mean --format?");
  EXPECT_EQ(did_you_mean("--modle", known), "; did you mean --model?");
  EXPECT_EQ(did_you_mean("--zzzzzzz", known), "");
  EXPECT_EQ(did_you_mean(std::string(100'000, 'a'), known), "");
}

}  // namespace
}  // namespace lrqat
