#include "lrqat/train/recipe_field_kinds.h"

#include <charconv>

#include "lrqat/base/error.h"
#include "lrqat/base/field_names.h"
#include "lrqat/base/user_text.h"

namespace lrqat::train {
namespace {

std::string print_double(double value) {
  char buffer[32];
  const auto [end, code] = std::to_chars(buffer, buffer + sizeof(buffer), value);  // shortest that reads back
  return {buffer, end};
}

}  // namespace

void fail_value(const std::string& name, const std::string& value, const std::string& expected) {
  throw UsageError(concat(field_name(name), " ", quote(value), ": expected ", expected));
}

RecipeField text_field(const std::string& name, std::string Recipe::*member, const std::string& help) {
  return {name,
          help,
          false,
          true,
          [=](const Recipe& r) { return Values{r.*member}; },
          [=](Recipe& r, const Values& v) { r.*member = v.at(0); }};
}

RecipeField real_field(const std::string& name, double Recipe::*member, double least, double most,
                       const std::string& help) {
  return {name,
          help,
          false,
          false,
          [=](const Recipe& r) { return Values{print_double(r.*member)}; },
          [=](Recipe& r, const Values& v) { r.*member = parse_real(name, v.at(0), least, most); }};
}

RecipeField optional_real_field(const std::string& name, std::optional<double> Recipe::*member, double least,
                                double most, const std::string& help) {
  return {name,
          help,
          false,
          false,
          [=](const Recipe& r) { return Values{r.*member ? print_double(*(r.*member)) : "auto"}; },
          [=](Recipe& r, const Values& v) {
            if (v.at(0) == "auto") {
              (r.*member).reset();
            } else {
              r.*member = parse_real(name, v.at(0), least, most);
            }
          }};
}

RecipeField fitted_size_field(const std::string& name, std::int64_t Recipe::*member, std::int64_t least,
                              const std::string& help) {
  RecipeField field = integer_field(name, member, 0, help);
  field.parse = [=](Recipe& r, const Values& v) {
    const std::string expected = concat("a whole number of ", least, " or more, or 0");
    const std::int64_t value = parse_integer(name, v.at(0), 0, kMostCount);
    if (value < least && value != 0) fail_value(name, v.at(0), expected);
    r.*member = value;
  };
  return field;
}

RecipeField switch_field(const std::string& name, bool Recipe::*member, const std::string& help) {
  return switch_of(
      name, [=](auto& r) -> auto& { return r.*member; }, help);
}

}  // namespace lrqat::train
