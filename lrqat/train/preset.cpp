#include "lrqat/train/preset.h"

#include <algorithm>

#include "lrqat/base/error.h"
#include "lrqat/base/user_text.h"
#include "lrqat/train/methods.h"

namespace lrqat::train {
namespace {

using Fields = std::vector<std::pair<std::string, std::vector<std::string>>>;

// Roundings and ranges block by block, `block_steps` sequences each; then the scales alone, end to end,
// distilled. Integers that change end to end transferred worse to other texts (docs/results.md).
Preset block_by_block(const std::string& name, const std::string& help, int block_steps, int steps) {
  constexpr int kSequence = 512;
  Fields fields{{"init", {"blockwise"}},
                {"block-steps", {std::to_string(block_steps)}},
                {"calibration-tokens", {std::to_string(block_steps * kSequence)}}};
  if (steps == 0) {
    fields.insert(fields.begin(), {"method", {"rtn"}});
  } else {
    const Fields training{{"method", {"peqa"}},      {"steps", {std::to_string(steps)}},
                          {"scale-domain", {"log"}}, {"scale-lr", {"2e-3"}},
                          {"batch-size", {"2"}},     {"warmup", {"0"}},
                          {"distill-weight", {"1"}}};
    fields.insert(fields.begin(), training.begin(), training.end());
  }
  return {name, help, std::move(fields)};
}

}  // namespace

const std::vector<Preset>& presets() {
  static const std::vector<Preset> table = {
      block_by_block("fast", "block by block, 56 steps each", 56, 0),
      block_by_block("balanced", "block by block, 100 steps each, then 20 end to end", 100, 20),
      block_by_block("best", "block by block, 300 steps each, then 120 end to end", 300, 120),
  };
  return table;
}

const Preset& find_preset(const std::string& name) {
  std::vector<std::string> names;
  for (const Preset& preset : presets()) {
    if (preset.name == name) return preset;
    names.push_back(preset.name);
  }
  throw UsageError(
      concat("no preset is called ", quote(name), did_you_mean(name, names), "; there are ", preset_help()));
}

std::string preset_help() {
  std::string text;
  for (const Preset& preset : presets())
    text += concat(text.empty() ? "" : ", ", preset.name, " (", preset.help, ")");
  return text;
}

void apply_preset(const Preset& preset, Recipe& recipe) {
  for (const auto& [name, values] : preset.fields) recipe_field(name).parse(recipe, values);
}

std::int64_t tokens_needed(const Recipe& recipe, std::int64_t sequence_length) {
  if (!method_of(recipe).trains) return recipe.calibration_tokens;
  const std::int64_t sequences = recipe.steps * recipe.batch_size * recipe.gradient_accumulation;
  return std::max(recipe.calibration_tokens, sequences * sequence_length);
}

}  // namespace lrqat::train
