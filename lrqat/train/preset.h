// Presets of `lrqat quantize`: recipes for people who want a small model, not an experiment
// (docs/results.md has what they were chosen by).
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "lrqat/train/recipe.h"

namespace lrqat::train {

struct Preset {
  std::string name;
  std::string help;
  // Recipe fields and their values, as in a recipe file.
  std::vector<std::pair<std::string, std::vector<std::string>>> fields;
};

const std::vector<Preset>& presets();                // fastest first
const Preset& find_preset(const std::string& name);  // UsageError that lists the names
std::string preset_help();                           // "fast (…), balanced (…), …"
void apply_preset(const Preset& preset, Recipe& recipe);

// Tokens of text that a run of this recipe looks at once: calibrated on, and trained on in its steps.
std::int64_t tokens_needed(const Recipe& recipe, std::int64_t sequence_length);

}  // namespace lrqat::train
