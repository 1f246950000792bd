// The JSON reader: what Python reads, what it refuses and where it says so, and its bounds.
#include "lrqat/base/json.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace lrqat {
namespace {

std::string error_of(const std::function<void()>& act) {
  try {
    act();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

std::string error_of(std::string_view text) {
  return error_of([&] { parse_json(text, "file"); });
}

Json parse(std::string_view text) { return parse_json(text, "file"); }

TEST(JsonParser, ReadsEveryKindOfValue) {
  const Json json =
      parse("\xef\xbb\xbf {\"a\": [1, -2, 0.5, 1e3, true, false, null, \"x\"], \"b\": {}, \"c\": []} \n");
  EXPECT_EQ(json, Json::parse(R"({"a": [1, -2, 0.5, 1e3, true, false, null, "x"], "b": {}, "c": []})"));
  EXPECT_TRUE(json["a"][0].is_number_unsigned());
  EXPECT_TRUE(json["a"][1].is_number_integer());
  EXPECT_TRUE(json["a"][3].is_number_float());
  EXPECT_EQ(parse("18446744073709551615").get<std::uint64_t>(), std::numeric_limits<std::uint64_t>::max());
  EXPECT_EQ(parse("-9223372036854775808").get<std::int64_t>(), std::numeric_limits<std::int64_t>::min());
  EXPECT_EQ(parse("18446744073709551616").get<double>(), 0x1p64);
  EXPECT_EQ(parse("0.1").get<double>(), 0.1);
  EXPECT_EQ(parse("1e-400").get<double>(), 0.0);
  EXPECT_EQ(parse(R"({"a": 1, "a": 2})")["a"], 2);  // the last one, as in Python
}

TEST(JsonParser, ReadsStrings) {
  EXPECT_EQ(parse(R"("\"\\\/\b\f\n\r\té\u00e9\u20ac\ud83d\ude00")").get<std::string>(),
            "\"\\/\b\f\n\r\t\u00e9\u00e9\u20ac\U0001f600");
  EXPECT_EQ(parse("\"\xf4\x8f\xbf\xbf\"").get<std::string>(), "\U0010ffff");
  EXPECT_EQ(parse("\"\\u0000\"").get<std::string>(), std::string(1, '\0'));
}

TEST(JsonParser, SaysWhereAndWhatIsWrong) {
  EXPECT_EQ(error_of("{\"a\": 1,\n \"b\": }"),
            "file: not valid JSON, line 2, column 7: expected a value, found '}'");
  EXPECT_EQ(error_of("[1, 2"),
            "file: not valid JSON, column 6: expected ',' or ']', found the end of the text");
  EXPECT_EQ(error_of(""), "file: not valid JSON, column 1: expected a value, found the end of the text");
  EXPECT_EQ(error_of("{a: 1}"), "file: not valid JSON, column 2: expected a key in quotes, found 'a'");
  EXPECT_EQ(error_of("[1] x"),
            "file: not valid JSON, column 5: expected nothing behind the value, found 'x'");
  for (const char* text : {"[1,]",
                           "{\"a\" 1}",
                           "{\"a\":1,}",
                           "01",
                           "1.",
                           "1e",
                           "-",
                           "+1",
                           ".5",
                           "tru",
                           "nan",
                           "-NaN",
                           "\"a",
                           "\"\\x\"",
                           "\"\\u12\"",
                           "\"\\u12g4\"",
                           "\"\t\"",
                           "\"\xff\"",
                           "\"\xc0\x80\"",
                           "\"\xed\xa0\x80\"",
                           "\"\xf4\x90\x80\x80\"",
                           "\"\xe2\x82\"",
                           "'a'",
                           "[1 2]",
                           "\xff"}) {
    EXPECT_NE(error_of(text).find("not valid JSON"), std::string::npos) << text << ": " << error_of(text);
  }
}

TEST(JsonParser, OrderedObjectsKeepTheOrderOfTheText) {
  EXPECT_EQ(parse_ordered_json(R"({"b":1,"a":{"z":1,"y":2},"b":3})", "test").dump(),
            R"({"b":3,"a":{"z":1,"y":2}})");
  EXPECT_EQ(parse_json(R"({"b":1,"a":2})", "test").dump(), R"({"a":2,"b":1})");
  EXPECT_THROW(parse_ordered_json(R"({"a":1,})", "test"), Error);
}

TEST(JsonParser, NestingIsBounded) {
  const auto nested = [](std::size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  EXPECT_NO_THROW(parse(nested(256)));
  for (const std::size_t depth : {257, 52'000, 1'000'000}) {
    EXPECT_NE(error_of(nested(depth)).find("nested deeper than 256"), std::string::npos);
    EXPECT_NE(error_of(std::string(depth, '[')).find("nested deeper than 256"), std::string::npos);
  }
  std::string objects;
  for (int i = 0; i < 60'000; ++i) objects += "{\"a\":";
  EXPECT_NE(error_of(objects).find("nested deeper"), std::string::npos);
}

TEST(JsonParser, WhatPythonWritesIsReadAndNamedWhereItIsUsed) {
  const Json json =
      parse(R"({"nan": NaN, "inf": Infinity, "low": -Infinity, "huge": 1e999, "cut": "a \ud83d b",
                              "half": "\ude00\ud83d\n", "list": [1, NaN], "fine": "\ud83d\ude00"})");
  EXPECT_TRUE(std::isnan(json["nan"].get<double>()));
  EXPECT_EQ(json["huge"], json["inf"]);
  EXPECT_EQ(json_get<std::string>(json, "fine", "file"), "\U0001f600");
  const auto used = [&](const char* key, auto example) {
    return error_of([&] { json_get<decltype(example)>(json, key, "file"); });
  };
  EXPECT_EQ(used("nan", 1.0), "file: key \"nan\" is NaN, expected a finite number");
  EXPECT_EQ(used("low", 1.0F), "file: key \"low\" is -Infinity, expected a finite number");
  EXPECT_NE(used("list", std::vector<double>()).find("NaN"), std::string::npos);
  EXPECT_NE(used("cut", std::string()).find("lone surrogate \\ud83d"), std::string::npos);
  EXPECT_NE(used("half", std::string()).find("lone surrogate \\ude00"), std::string::npos);
  EXPECT_EQ(json_text(json["cut"]), "\"a \xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd b\"");
}

TEST(JsonGet, NumbersFitTheirType) {
  const Json json =
      parse(R"({"two": 2, "whole": 2.0, "half": 2.5, "big": 5000000000, "negative": -1, "yes": true,
                              "huge": 1e30, "top": 18446744073709551615})");
  EXPECT_EQ(json_get<int>(json, "two", "file"), 2);
  EXPECT_EQ(json_get<int>(json, "whole", "file"), 2);
  EXPECT_EQ(json_get<std::int64_t>(json, "big", "file"), 5'000'000'000);
  EXPECT_EQ(json_get<double>(json, "two", "file"), 2.0);
  for (const char* key : {"half", "big", "yes", "huge", "top"}) {
    EXPECT_THROW(json_get<int>(json, key, "file"), Error) << key;
  }
  EXPECT_THROW(json_get<std::int64_t>(json, "top", "file"), Error);
  EXPECT_THROW(json_get<std::uint32_t>(json, "negative", "file"), Error);
  EXPECT_THROW(json_get<bool>(json, "two", "file"), Error);
  EXPECT_THROW(json_get<int>(json, "none", "file"), Error);
}

TEST(JsonExcerpt, IsShortAndWhole) {
  EXPECT_EQ(json_excerpt("abc"), "\"abc\"");
  EXPECT_EQ(json_excerpt("\u00e9\u00e9\u00e9", 4), "\"\u00e9…");
}

}  // namespace
}  // namespace lrqat
