#include "lrqat/train/scale_recipe.h"

#include <algorithm>
#include <array>

#include "lrqat/base/error.h"
#include "lrqat/base/user_text.h"

namespace lrqat::train {
namespace {

struct Scale {
  const char* name;
  std::int64_t steps, batch_size, sequence_length, rank, eval_windows, observed_batches, calibration_tokens,
      block_steps;
};

// small: some minutes on SmolLM2-135M and two cores; tiny: a dry run.
constexpr std::array kScales{Scale{"small", 60, 2, 256, 8, 8, 4, 8192, 40},
                             Scale{"tiny", 2, 1, 32, 4, 2, 1, 256, 2}};

const Scale& find_scale(const std::string& name) {
  for (const Scale& scale : kScales) {
    if (scale.name == name) return scale;
  }
  throw UsageError(concat("`scale-to` ", quote(name), " is not known: use one of ", known_scales()));
}

bool divides_all(std::int64_t group, const formats::ModelConfig& config) {
  const std::int64_t heads = config.num_attention_heads * config.head_dim;
  return config.hidden_size % group == 0 && heads % group == 0 && config.intermediate_size % group == 0;
}

}  // namespace

std::string known_scales() {
  std::string names;
  for (const Scale& scale : kScales) names += concat(names.empty() ? "" : ", ", scale.name);
  return names;
}

void scale_recipe(Recipe& recipe, const std::string& name) {
  const Scale& scale = find_scale(name);
  const auto cut = [](std::int64_t& value, std::int64_t most) { value = std::min(value, most); };
  const std::int64_t rank = recipe.rank;
  cut(recipe.rank, scale.rank);
  if (recipe.lora_alpha) *recipe.lora_alpha *= static_cast<double>(recipe.rank) / static_cast<double>(rank);
  const std::int64_t steps = recipe.steps;
  cut(recipe.steps, scale.steps);
  if (recipe.warmup >= 1.0 && steps > 0)
    recipe.warmup *= static_cast<double>(recipe.steps) / static_cast<double>(steps);
  cut(recipe.batch_size, scale.batch_size);
  if (recipe.sequence_length == 0) recipe.sequence_length = scale.sequence_length;
  cut(recipe.sequence_length, scale.sequence_length);
  recipe.gradient_accumulation = 1;
  if (recipe.eval_context == 0) recipe.eval_context = scale.sequence_length;
  cut(recipe.eval_context, scale.sequence_length);
  recipe.eval_windows =
      recipe.eval_windows == 0 ? scale.eval_windows : std::min(recipe.eval_windows, scale.eval_windows);
  recipe.eval_every = recipe.save_every = 0;  // at the end
  cut(recipe.activation_batches, scale.observed_batches);
  cut(recipe.calibration_tokens, scale.calibration_tokens);
  cut(recipe.block_steps, scale.block_steps);
  cut(recipe.block_batch_size, scale.batch_size);
}

void fit_groups(Recipe& recipe, const formats::ModelConfig& config) {
  constexpr std::int64_t kSmallest = 8;
  if (!recipe.granularity || recipe.granularity->kind != quant::Granularity::Kind::group) return;
  while (!divides_all(recipe.granularity->group_size, config)) {
    recipe.granularity->group_size /= 2;
    if (recipe.granularity->group_size >= kSmallest) continue;
    recipe.granularity = quant::Granularity::parse("channel");
    return;
  }
}

}  // namespace lrqat::train
