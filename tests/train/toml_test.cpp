#include "lrqat/train/toml.h"

#include <gtest/gtest.h>

#include "lrqat/base/error.h"

namespace lrqat::train {
namespace {

using Values = std::vector<std::string>;

TomlEntry only(const std::string& text) {
  const std::vector<TomlEntry> entries = parse_toml(text, "file");
  EXPECT_EQ(entries.size(), 1U) << text.substr(0, 80);
  return entries.at(0);
}

std::string refusal(const std::string& text) {
  try {
    parse_toml(text, "run.toml");
  } catch (const UsageError& error) {
    return error.what();
  }
  return "accepted";
}

TEST(Toml, ReadsKeysInTheirOrderWithLines) {
  const auto entries = parse_toml("# first\n\nlr_a = 1e-3 # rate\r\n  bits=4\ntext = \"a # b\"\n", "file");
  ASSERT_EQ(entries.size(), 3U);
  EXPECT_EQ(entries[0].key, "lr-a");
  EXPECT_EQ(entries[0].values, Values{"1e-3"});
  EXPECT_EQ(entries[0].line, 3);
  EXPECT_EQ(entries[1].values, Values{"4"});
  EXPECT_FALSE(entries[1].is_text);
  EXPECT_EQ(entries[2].values, Values{"a # b"});
  EXPECT_TRUE(entries[2].is_text);
  EXPECT_EQ(entries[2].line, 5);
}

// What a number may look like is said by base/numbers.h, so numbers come as they are written.
TEST(Toml, NumbersStayAsWritten) {
  for (const std::string text : {"1_000", "+1", "-0", "0.10", "1e-05", "1E3", "inf", "0x10", "true"}) {
    EXPECT_EQ(only("a = " + text).values, Values{text});
    EXPECT_EQ(only("a = [ \"\xC3\xA9\", " + text + " ]").values, (Values{"\xC3\xA9", text}));
  }
}

// As older runs have them.
TEST(Toml, WholeNumbersMayNeedAll64Bits) {
  EXPECT_EQ(only("seed = 18446744073709551615").values, Values{"18446744073709551615"});
  EXPECT_EQ(print_toml({"seed", {"18446744073709551615"}, false, false, 0}), "seed = 18446744073709551615");
  EXPECT_FALSE(only("seed=18446744073709551615").is_text);
}

TEST(Toml, ReadsStringsAndLists) {
  EXPECT_EQ(only("a = 'C:\\x'").values, Values{"C:\\x"});
  EXPECT_EQ(only(R"(a = "q\"b\\n\n\t\u0007")").values, Values{"q\"b\\n\n\t\a"});
  EXPECT_EQ(only("a = [\"x\", 'y',] # z").values, (Values{"x", "y"}));
  EXPECT_EQ(only("a = \"{ '''\"").values, Values{"{ '''"});
  const TomlEntry none = only("a = []");
  EXPECT_TRUE(none.is_list);
  EXPECT_TRUE(none.values.empty());
}

TEST(Toml, RefusesWithFileLineAndKey) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"[table]", "tables"},
      {"a.b = 1", "key = value"},
      {"\"a\" = 1", "key"},
      {"= 1", "key"},
      {"rank", "key = value"},
      {"rank =", "\"rank\""},
      {"rank = 1 2", "\"rank\""},
      {"rank = lr-qat", "method = \"lsq\""},
      {"rank = \"x", "\"rank\""},
      {"rank = \"\\q\"", "\\q"},
      {"rank = [1,", "one line"},
      {"rank = [[1]]", "[1]"},
      {"rank = {a = 1}", "tables"},
      {"rank = [\"a\", {a = 1}]", "tables"},
      {"rank = \"\"\"a\"\"\"", "single quotation marks"},
      {"rank = 1979-05-27", "1979-05-27"},
      {"rank = .5", "\"rank\""},
      {"rank = -99999999999999999999", "\"rank\""},
      {"rank = \"\x01\"", "\"rank\""},
      {"rank = 1\nrank = 2", "\"rank\" stands here twice"},
      {"a-b = 1\na_b = 2", "\"a-b\" stands here twice"}};
  for (const auto& [line, word] : cases) {
    const std::string said = refusal("\n" + line);
    EXPECT_TRUE(said.starts_with("run.toml:2: ") || said.starts_with("run.toml:3: ")) << line << ": " << said;
    EXPECT_NE(said.find(word), std::string::npos) << line << ": " << said;
  }
}

std::string repeated(const std::string& part, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) out += part;
  return out;
}

// toml++ 3.3 and 3.4 run out of stack for nested tables of this depth (dotted keys).
TEST(Toml, RefusesWhatIsNestedDeeply) {
  constexpr int kDepth = 500'000;
  const std::string dotted = repeated("a.", kDepth) + "a = 1";
  for (const std::string& text :
       {"a = " + repeated("[", kDepth), "a = " + repeated("{a=", kDepth), dotted, "[" + dotted,
        "a = {" + dotted + "}", "a = [\"\"\"x\"y\"\"\", {" + dotted + "}]",
        "a = ['''x'y''', {" + dotted + "}]", "a = \"\\\\\" {" + dotted, "a = 'x\\', {" + dotted + " '"}) {
    const std::string said = refusal(text);
    EXPECT_TRUE(said.starts_with("run.toml:1: ")) << text.substr(0, 40) << ": " << said.substr(0, 200);
    EXPECT_LT(said.size(), 2000U) << text.substr(0, 40);
  }
}

TEST(Toml, PrintsWhatItReads) {
  for (const std::string value :
       {"18446744073709551615", "9223372036854775807", "-1e+30", "true", "auto", "", "a\rb"}) {
    const TomlEntry read = only(print_toml({"a", {value}, false, false, 0}));
    EXPECT_EQ(read.values, Values{value});
    EXPECT_EQ(print_toml(read), print_toml(only(print_toml(read))));
  }
}

// Names of files may be no UTF-8.
TEST(Toml, StringsAreAnyBytes) {
  std::string all;
  for (int byte = 1; byte < 256; ++byte) all.push_back(static_cast<char>(byte));
  for (const std::string& value :
       {all, std::string("a\0\xFF", 3), std::string("\xF3\xB0\x82\x80 caf\xC3\xA9")}) {
    const TomlEntry read = only(print_toml({"a", {"\xC3\xA9", value}, true, true, 0}));
    EXPECT_EQ(read.values, (Values{"\xC3\xA9", value}));
  }
  EXPECT_EQ(only("a = \"\\u00e9\"").values, Values{"\xC3\xA9"});
  EXPECT_EQ(only("a = [\"\xC3\xA9\", 12]").values, (Values{"\xC3\xA9", "12"}));
}

}  // namespace
}  // namespace lrqat::train
