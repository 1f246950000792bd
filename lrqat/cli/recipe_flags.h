// The recipe on the command line: a preset, --config FILE, --scale-to, and one flag a field; the later win.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "lrqat/cli/cli.h"
#include "lrqat/train/recipe.h"

namespace lrqat::cli {

struct RecipeFlags {
  std::map<std::string, std::vector<std::string>> fields;  // as given, by field name
  std::string config;
  std::string scale_to;  // empty: as it is
  std::string preset;    // of train/preset.h; empty: none (only `lrqat quantize` has the flag)

  bool any() const;  // whether any was given
};

void add_recipe_flags(CLI::App& command, RecipeFlags& flags);
// Paths become absolute, so that a run can be continued from any folder.
train::Recipe resolve_recipe(const RecipeFlags& flags, const CommonOptions& options);

}  // namespace lrqat::cli
