// Every value that a recipe field accepts is printed so that it reads back: otherwise a run could not be
// opened again.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "lrqat/base/error.h"
#include "lrqat/train/recipe.h"
#include "tests/train/recipe_difference.h"

namespace lrqat::train {
namespace {

// Numbers at and beyond every edge, words of the fields, and what files and shells may hand over as text.
std::vector<std::string> hostile_values() {
  std::vector<std::string> values = {"0",
                                     "1",
                                     "2",
                                     "4",
                                     "8",
                                     "-1",
                                     "-0",
                                     "+1",
                                     "1_000",
                                     "_1",
                                     "1_",
                                     "1__0",
                                     "0x10",
                                     "1e3",
                                     "1e30",
                                     "1e308",
                                     "-1e308",
                                     "1e999",
                                     "5e-324",
                                     "0.1",
                                     ".5",
                                     "1.",
                                     "inf",
                                     "-inf",
                                     "infinity",
                                     "nan",
                                     "NaN",
                                     "9223372036854775807",
                                     "9223372036854775808",
                                     "18446744073709551615",
                                     "18446744073709551616",
                                     "-9223372036854775808",
                                     "999999999999GB",
                                     "-1GB",
                                     "nanGB",
                                     "infB",
                                     "1e30B",
                                     "0.5KiB",
                                     "1 GB",
                                     "GB",
                                     "true",
                                     "false",
                                     "auto",
                                     "none",
                                     "lp:3.5",
                                     "lp:nan",
                                     "lp:1e-300",
                                     "lp:0x1p3",
                                     "group:1",
                                     "group:64",
                                     "group:9223372036854775807",
                                     "group:-1",
                                     "*.down_proj bits=8",
                                     "* skip",
                                     "a\"b bits=4",
                                     "* rank=nan",
                                     "",
                                     " ",
                                     "#",
                                     "a # b",
                                     "\"",
                                     "\\",
                                     "\\n",
                                     "'",
                                     "]",
                                     "[1, 2]",
                                     "a\nb",
                                     "a\tb",
                                     "a\rb",
                                     "\x01\x1B[31m\x7F",
                                     "caf\xC3\xA9",
                                     "\xFF\xFE",
                                     std::string("a\0b", 3),
                                     std::string(100'000, 'a'),
                                     std::string(309, '9')};
  for (const RecipeField& field : recipe_fields()) {
    for (const std::string& value : field.print(Recipe{})) values.push_back(value);
  }
  return values;
}

class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& text)
      : path_(std::filesystem::temp_directory_path() / ("recipe-" + std::to_string(::getpid()) + ".toml")) {
    std::ofstream(path_, std::ios::binary) << text;
  }
  ~TemporaryFile() { std::filesystem::remove(path_); }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// Whether the field takes the value; a refusal is a UsageError that a person can read.
bool accepts(const RecipeField& field, const std::vector<std::string>& values, Recipe& recipe) {
  try {
    field.parse(recipe, values);
    return true;
  } catch (const UsageError& error) {
    const std::string message = error.what();  // as a user of the library sees it
    EXPECT_LT(message.size(), 2000U) << field.name << ": " << message.substr(0, 200);
    EXPECT_NE(message.find('`'), std::string::npos) << field.name << ": " << message;
    return false;
  }
}

TEST(RecipeFields, AcceptedValuesReadBack) {
  int accepted = 0, refused = 0;
  for (const RecipeField& field : recipe_fields()) {
    for (const std::string& value : hostile_values()) {
      std::vector<std::vector<std::string>> lists = {{value}};
      if (field.is_list) lists.push_back({"* skip", value});
      for (const auto& values : lists) {
        Recipe recipe;
        if (!accepts(field, values, recipe)) {
          ++refused;
          continue;
        }
        ++accepted;
        const TemporaryFile file(print_recipe(recipe));
        Recipe again;
        ASSERT_NO_THROW(read_recipe(file.path(), again)) << field.name << " = " << value.substr(0, 80);
        EXPECT_EQ(recipe_difference(again, recipe), "") << field.name << " = " << value.substr(0, 80);
      }
    }
  }
  EXPECT_GT(accepted, 100);
  EXPECT_GT(refused, 1000);
}

// The bounds that the fields promise: what no arithmetic of a run survives is refused.
TEST(RecipeFields, RefuseWhatIsNoSetting) {
  const std::vector<std::pair<std::string, std::vector<std::string>>> cases = {
      {"clip-norm", {"inf", "nan", "-1", "1e999"}},
      {"lr", {"inf", "nan", "-1e-3"}},
      {"lora-alpha", {"1e308", "inf", "-1"}},
      {"warmup", {"1e30", "inf", "-0.1"}},
      {"memory-budget", {"-1", "-1GB", "nanGB", "infGB", "1e30GB", "9223372036854775808", "1e5"}},
      {"gradient-accumulation", {"9223372036854775807", "0", "-1", "1.5"}},
      {"batch-size", {"9223372036854775807", "0"}},
      {"seed", {"-1", "18446744073709551616", "0x10"}},
      {"steps", {"1e3", "inf"}}};
  for (const auto& [name, values] : cases) {
    for (const std::string& value : values) {
      Recipe recipe;
      EXPECT_FALSE(accepts(recipe_field(name), {value}, recipe)) << name << " " << value;
    }
  }
}

TEST(RecipeFields, FlagsAndFilesReadNumbersAlike) {
  for (const std::string text : {"1_000", "+1000", "1000"}) {
    Recipe flag;
    recipe_field("steps").parse(flag, {text});
    const TemporaryFile file("steps = " + text + "\n");
    Recipe read;
    read_recipe(file.path(), read);
    EXPECT_EQ(flag.steps, 1000);
    EXPECT_EQ(read.steps, 1000);
  }
}

TEST(RecipeFields, ProductsOfCountsAreBounded) {
  Recipe recipe;
  recipe.model = "m";
  recipe.data = {"d"};
  EXPECT_NO_THROW(validate(recipe));
  recipe.batch_size = recipe.gradient_accumulation = 1'000'000'000;
  EXPECT_THROW(validate(recipe), UsageError);
}

}  // namespace
}  // namespace lrqat::train
