#include "lrqat/train/fit_to_model.h"

#include <algorithm>

#include "lrqat/base/error.h"
#include "lrqat/formats/positions.h"
#include "lrqat/start/inits.h"
#include "lrqat/train/fit_granularity.h"
#include "lrqat/train/layer_recipe.h"
#include "lrqat/train/methods.h"

namespace lrqat::train {
namespace {

// Sizes that are left open: what fits into minutes, and into the model.
void fit_windows(Recipe& recipe, const formats::ModelConfig& config) {
  constexpr std::int64_t kTokens = 512;
  const std::int64_t fitting =
      config.max_position_embeddings > 1 ? std::min(kTokens, config.max_position_embeddings) : kTokens;
  if (recipe.sequence_length == 0) recipe.sequence_length = fitting;
  if (recipe.eval_context == 0) recipe.eval_context = fitting;
  formats::check_positions(config, "`sequence-length`", recipe.sequence_length);
  if (!recipe.eval_data.empty()) formats::check_positions(config, "`eval-context`", recipe.eval_context);
}

std::int64_t count_stored_starts(const Recipe& recipe, const Method& method, const model::Decoder& decoder) {
  const auto linears = decoder.linears();
  return std::count_if(linears.begin(), linears.end(),
                       [&](const nn::Linear* linear) { return starts_from_stored(method, recipe, *linear); });
}

constexpr const char* kAutoFromText = "gptq";  // what "auto" becomes

// From integers by calibration text unless the model has integers of its own on this grid, or the recipe
// wants another start.
bool starts_from_text(const Recipe& recipe, const Method& method, std::int64_t stored) {
  const auto inits = used_inits(recipe);
  return recipe.init == "auto" && method.trains && start::takes(method, kAutoFromText) && stored == 0 &&
         !recipe.faithful_downcast && std::none_of(inits.begin(), inits.end(), start::is_transform);
}

// The model that training starts from is its own teacher, and teaches nothing, where the start is the model
// itself.
double fitting_distill_weight(const Recipe& recipe, const Method& method, std::int64_t stored,
                              ProgressReporter& progress) {
  if (!method.trains) return 0.0;
  if (!recipe.teacher.empty()) return 1.0;
  if (stored == 0 || recipe.activations.any()) return 1.0;
  progress.message(
      "distill-weight 0 (cross-entropy): training starts from the model's own integers, so that the model "
      "itself "
      "has nothing to teach");
  return 0.0;
}

void fit_start(Recipe& recipe, const model::Decoder& decoder, ProgressReporter& progress) {
  const Method& method = find_method(recipe.method);
  const std::int64_t stored = count_stored_starts(recipe, method, decoder);
  if (starts_from_text(recipe, method, stored)) {
    recipe.init = kAutoFromText;
    progress.message(concat("init ", recipe.init, ", calibrated on ", recipe.calibration_tokens,
                            " tokens of the data; `init` range starts from rounding"));
  }
  if (!recipe.distill_weight)
    recipe.distill_weight = fitting_distill_weight(recipe, method, stored, progress);
}

}  // namespace

Recipe fit_to_model(const Recipe& recipe, const model::Decoder& decoder, ProgressReporter& progress) {
  Recipe fitted = recipe;
  fit_windows(fitted, decoder.config());
  fit_granularity(fitted, decoder, progress);
  fit_start(fitted, decoder, progress);
  return fitted;
}

}  // namespace lrqat::train
