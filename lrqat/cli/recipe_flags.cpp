#include "lrqat/cli/recipe_flags.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>

#include "lrqat/base/error.h"
#include "lrqat/base/field_names.h"
#include "lrqat/corpus/data_files.h"
#include "lrqat/model/integer_source.h"
#include "lrqat/train/field_use.h"
#include "lrqat/train/methods.h"
#include "lrqat/train/preset.h"
#include "lrqat/train/scale_recipe.h"

namespace lrqat::cli {
namespace {

std::string absolute(const std::string& path) {
  return path.empty() ? path : std::filesystem::absolute(path).lexically_normal().string();
}

// What a recipe file says is judged with the file's own method, so that `--config FILE --method OTHER` takes
// what OTHER has; its defaults may stand there, as in every run's recipe.toml.
void check_use(const RecipeFlags& flags, const train::Recipe& recipe) {
  if (!flags.config.empty()) {
    train::Recipe named;
    train::read_recipe(flags.config, named);
    const train::Recipe defaults = train::method_defaults(named.method);
    train::Recipe own = defaults;
    train::read_recipe(flags.config, own);
    std::vector<std::string> fields;
    for (const train::RecipeField& field : train::recipe_fields()) {
      // A run's file says what was fitted to the model, needed or not.
      const bool fitted = field.name == "sequence-length" || field.name == "eval-context";
      if (!fitted && field.print(own) != field.print(defaults)) fields.push_back(field.name);
    }
    try {
      train::check_fields_are_used(own, fields);
    } catch (const UsageError& error) {
      throw UsageError(concat(flags.config, ": ", with_field_names(error.what(), "")));
    }
  }
  std::vector<std::string> given;
  for (const auto& [name, values] : flags.fields) {
    if (!values.empty()) given.push_back(name);
  }
  train::check_fields_are_used(recipe, given);
}

}  // namespace

bool RecipeFlags::any() const {
  return !config.empty() || !scale_to.empty() ||
         std::any_of(fields.begin(), fields.end(), [](const auto& field) { return !field.second.empty(); });
}

void add_recipe_flags(CLI::App& command, RecipeFlags& flags) {
  command.add_option("--config", flags.config, "recipe file (TOML) with the same names as the flags");
  command.add_option(
      "--scale-to", flags.scale_to,
      "cut the recipe down to a try-out, flags still win: small (minutes on a small model) or tiny "
      "(a dry run of two steps)");
  const train::Recipe defaults;
  for (const train::RecipeField& field : train::recipe_fields()) {
    if (field.name == "seed") continue;  // every subcommand has --seed
    const auto shown = field.print(defaults);
    const std::string suffix = shown.empty() || shown[0].empty() ? "" : " [" + shown[0] + "]";
    CLI::Option* option = command.add_option("--" + field.name, flags.fields[field.name],
                                             with_field_names(field.help, "--") + suffix);
    option->expected(1, field.is_list ? 1 << 20 : 1);
    option->multi_option_policy(field.is_list ? CLI::MultiOptionPolicy::TakeAll
                                              : CLI::MultiOptionPolicy::TakeLast);
  }
}

train::Recipe resolve_recipe(const RecipeFlags& flags, const CommonOptions& options) {
  const auto read = [&](train::Recipe recipe) {
    if (!flags.preset.empty()) train::apply_preset(train::find_preset(flags.preset), recipe);
    if (!flags.config.empty()) train::read_recipe(flags.config, recipe);
    if (!flags.scale_to.empty()) train::scale_recipe(recipe, flags.scale_to);
    for (const auto& [name, values] : flags.fields) {
      if (!values.empty()) train::recipe_field(name).parse(recipe, values);
    }
    return recipe;
  };
  // The method decides what the fields are that nobody sets, so it is looked for first.
  train::Recipe recipe = read(train::method_defaults(read({}).method));
  check_use(flags, recipe);
  if (options.seed_given) recipe.seed = options.seed;
  recipe.model = absolute(recipe.model);
  if (!flags.scale_to.empty() && !recipe.model.empty() && flags.fields.at("granularity").empty()) {
    train::fit_groups(recipe, model::open_source(recipe.model)->config());
  }
  recipe.eval_data = corpus::absolute_entry(recipe.eval_data);
  recipe.teacher = absolute(recipe.teacher);
  recipe.teacher_cache = absolute(recipe.teacher_cache);
  for (std::string& entry : recipe.data) entry = corpus::absolute_entry(entry);
  return recipe;
}

}  // namespace lrqat::cli
