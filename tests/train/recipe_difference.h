#pragma once

#include "lrqat/base/error.h"
#include "lrqat/train/recipe.h"

namespace lrqat::train {

// The first field in which two recipes differ, as "lr is 0.001, was 0.002"; empty: none.
inline std::string recipe_difference(const Recipe& recipe, const Recipe& before) {
  const auto joined = [](const std::vector<std::string>& values) {
    std::string out;
    for (const std::string& value : values) out += (out.empty() ? "" : " ") + value;
    return out;
  };
  for (const RecipeField& field : recipe_fields()) {
    const std::string now = joined(field.print(recipe)), then = joined(field.print(before));
    if (now != then) return concat(field.name, " is \"", now, "\", was \"", then, "\"");
  }
  return {};
}

}  // namespace lrqat::train
