// The papers' recipes say every number that defaults once said for them: they resolve to what they always
// did, whatever the defaults become.
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <sstream>

#include "lrqat/base/file.h"
#include "lrqat/train/methods.h"
#include "lrqat/train/toml.h"

namespace lrqat::train {
namespace {

const std::filesystem::path kData = LRQAT_TEST_DATA;

Recipe resolved(const std::filesystem::path& path) {
  Recipe named;
  read_recipe(path, named);
  Recipe recipe = method_defaults(named.method);
  read_recipe(path, recipe);
  return recipe;
}

// Bodies of the [name] sections.
std::map<std::string, std::string> sections(const std::string& text) {
  std::map<std::string, std::string> found;
  std::istringstream lines(text);
  std::string line, name;
  while (std::getline(lines, line)) {
    if (line.starts_with('[')) {
      name = line.substr(1, line.size() - 2);
    } else if (!name.empty()) {
      found[name] += line + "\n";
    }
  }
  return found;
}

TEST(RecipeFiles, ThePapersResolveToWhatTheyDid) {
  const auto expected = sections(read_text_file(kData / "recipes" / "resolved.toml"));
  std::set<std::string> names;
  for (const auto& entry :
       std::filesystem::directory_iterator(kData.parent_path().parent_path() / "recipes")) {
    const std::string name = entry.path().stem().string();
    if (name != "study") names.insert(name);  // ours, chosen by measurement
  }
  EXPECT_EQ(names.size(), expected.size());
  for (const std::string& name : names) {
    ASSERT_TRUE(expected.contains(name)) << name;
    const Recipe recipe = resolved(kData.parent_path().parent_path() / "recipes" / (name + ".toml"));
    for (const TomlEntry& entry : parse_toml(expected.at(name), name)) {
      const RecipeField& field = recipe_field(entry.key);
      Recipe wanted;
      field.parse(wanted, entry.values);
      EXPECT_EQ(field.print(recipe), field.print(wanted)) << name << ": " << entry.key;
    }
  }
}

// γ = 1 unless somebody says otherwise, in the recipe and in an override of the rank.
TEST(RecipeFiles, AlphaFollowsTheRank) {
  Recipe recipe;
  EXPECT_EQ(recipe.alpha(), 32.0);
  recipe_field("rank").parse(recipe, {"8"});
  EXPECT_EQ(recipe.alpha(), 8.0);
  EXPECT_EQ(recipe_field("lora-alpha").print(recipe), std::vector<std::string>{"auto"});
  recipe_field("lora-alpha").parse(recipe, {"4"});
  EXPECT_EQ(recipe.alpha(), 4.0);
  recipe_field("lora-alpha").parse(recipe, {"auto"});
  EXPECT_EQ(recipe.alpha(), 8.0);
}

// Words stand in quotation marks, also where a field is a number otherwise.
TEST(RecipeFiles, DefaultsReadBack) {
  const std::string text = print_recipe(Recipe{});
  for (const TomlEntry& entry : parse_toml(text, "printed")) {
    Recipe read;
    recipe_field(entry.key).parse(read, entry.values);
    EXPECT_EQ(recipe_field(entry.key).print(read), recipe_field(entry.key).print(Recipe{})) << entry.key;
  }
}

}  // namespace
}  // namespace lrqat::train
