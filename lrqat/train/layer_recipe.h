// What a recipe says about single linears: `overrides`, a list of
//     "PATTERN key=value …"   the linears that PATTERN names take these fields of the recipe
//     "PATTERN skip"          they stay float
// PATTERN is matched against the whole name (model.layers.0.mlp.down_proj); * stands for any characters, ?
// for one. Later overrides win.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "lrqat/methods/layer_options.h"
#include "lrqat/start/prepare.h"
#include "lrqat/train/recipe.h"

namespace lrqat::train {

// The recipe of one linear; nothing: it stays float.
std::optional<Recipe> layer_recipe(const Recipe& recipe, const std::string& layer);

// Whether an override that the linear's name matches gives the field a value.
bool is_overridden(const Recipe& recipe, const std::string& layer, const std::string& field);

// What a method has to know of the linear's own recipe. The seed is the linear's, whatever the order in which
// linears are prepared.
methods::LayerOptions layer_options(const Recipe& own, const std::string& layer);

// What every linear starts from. `recipe` must outlive it.
start::PlanOf plan_of(const Recipe& recipe);
// The starts and transforms that the recipe or one of its overrides names.
std::set<std::string> used_inits(const Recipe& recipe);

// UsageError naming the override that has no such form, names a field that is not a layer's own, or gives it
// a value that it does not take.
void check_override(const std::string& text);

// An override by itself: the recipe with its fields, and which these are.
struct OverriddenRecipe {
  std::string text;
  Recipe recipe;
  std::vector<std::string> fields;
};
std::vector<OverriddenRecipe> overridden_recipes(const Recipe& recipe);

// UsageError naming an override whose pattern matches none of the linears.
void check_overrides_match(const Recipe& recipe, const std::vector<std::string>& layers);

bool matches_pattern(const std::string& pattern, const std::string& name);

}  // namespace lrqat::train
