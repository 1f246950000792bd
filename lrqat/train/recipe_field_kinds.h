// The kinds of fields that recipes have (recipe_fields.cpp is the table): how a value of each is read and
// printed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lrqat/base/numbers.h"
#include "lrqat/train/recipe.h"

namespace lrqat::train {

using Values = std::vector<std::string>;

// The most that any count may be.
constexpr std::int64_t kMostCount = 1'000'000'000;

[[noreturn]] void fail_value(const std::string& name, const std::string& value, const std::string& expected);

RecipeField text_field(const std::string& name, std::string Recipe::*member, const std::string& help);
// In [least, most].
RecipeField real_field(const std::string& name, double Recipe::*member, double least, double most,
                       const std::string& help);
// The same where nothing but "auto" is said.
RecipeField optional_real_field(const std::string& name, std::optional<double> Recipe::*member, double least,
                                double most, const std::string& help);
// A size that may be left to the model as 0.
RecipeField fitted_size_field(const std::string& name, std::int64_t Recipe::*member, std::int64_t least,
                              const std::string& help);
RecipeField switch_field(const std::string& name, bool Recipe::*member, const std::string& help);

template <typename T>
RecipeField integer_field(const std::string& name, T Recipe::*member, std::int64_t least,
                          const std::string& help, std::int64_t most = kMostCount) {
  return {name,
          help,
          false,
          false,
          [=](const Recipe& r) { return Values{std::to_string(r.*member)}; },
          [=](Recipe& r, const Values& v) {
            r.*member = static_cast<T>(parse_integer(name, v.at(0), least, most));
          }};
}

// A member with functions of its own to read and print a word.
template <typename T, typename Parse, typename Print>
RecipeField word_field(const std::string& name, T Recipe::*member, const Parse& parse, const Print& print,
                       const std::string& help) {
  return {name,
          help,
          false,
          true,
          [=](const Recipe& r) { return Values{print(r.*member)}; },
          [=](Recipe& r, const Values& v) { r.*member = parse(v.at(0)); }};
}

// `value`: the field of a recipe, [](auto& recipe) -> auto&.
template <typename Value>
RecipeField switch_of(const std::string& name, const Value& value, const std::string& help) {
  return {name,
          help,
          false,
          false,
          [=](const Recipe& r) { return Values{value(r) ? "true" : "false"}; },
          [=](Recipe& r, const Values& v) {
            if (v.at(0) != "true" && v.at(0) != "false") fail_value(name, v.at(0), "true or false");
            value(r) = v.at(0) == "true";
          }};
}

}  // namespace lrqat::train
