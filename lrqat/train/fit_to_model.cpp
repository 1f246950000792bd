#include "lrqat/train/fit_to_model.h"

#include <algorithm>
#include <string>
#include <vector>

#include "lrqat/base/error.h"
#include "lrqat/model/block_integers.h"
#include "lrqat/model/positions.h"
#include "lrqat/start/inits.h"
#include "lrqat/train/fit_granularity.h"
#include "lrqat/train/layer_recipe.h"
#include "lrqat/train/methods.h"

namespace lrqat::train {
namespace {

std::int64_t count_stored_starts(const Recipe& recipe, const methods::Method& method,
                                 const model::Decoder& decoder) {
  const auto linears = decoder.linears();
  return std::count_if(linears.begin(), linears.end(),
                       [&](const nn::Linear* linear) { return starts_from_stored(method, recipe, *linear); });
}

std::int64_t count_quantized(const model::Decoder& decoder) {
  const auto linears = decoder.linears();
  return std::count_if(linears.begin(), linears.end(), [](const nn::Linear* linear) {
    const formats::SourceTensor* raw = linear->weight()->file_tensor();
    return linear->weight()->is_quantized() || (raw != nullptr && model::holds_integers(*raw));
  });
}

// From integers by calibration text unless the model has integers of its own on this grid, or the recipe
// wants another start.
bool starts_from_text(const Recipe& recipe, const methods::Method& method, std::int64_t stored) {
  const auto inits = used_inits(recipe);
  return recipe.init == "auto" && method.trains && start::is_taken_by(start::auto_from_text(), method) &&
         stored == 0 && !recipe.faithful_downcast &&
         std::none_of(inits.begin(), inits.end(), start::is_transform);
}

// The model that training starts from is its own teacher, and teaches nothing, where the start is the model
// itself.
double fitting_distill_weight(const Recipe& recipe, const methods::Method& method, std::int64_t stored,
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
  const methods::Method& method = method_of(recipe);
  const std::int64_t stored = count_stored_starts(recipe, method, decoder);
  if (starts_from_text(recipe, method, stored)) {
    recipe.init = start::auto_from_text().name;
    progress.message(concat("init ", recipe.init, ", calibrated on ", recipe.calibration_tokens,
                            " tokens of the data; `init` range starts from rounding"));
    if (const std::int64_t quantized = count_quantized(decoder); quantized > 0) {
      progress.message(
          concat("none of the model's ", quantized,
                 " quantized linears has its integers on this grid: they start from their values"));
    }
  }
  if (!recipe.distill_weight)
    recipe.distill_weight = fitting_distill_weight(recipe, method, stored, progress);
}

void check_granularity(const Recipe& recipe, const model::Decoder& decoder) {
  if (!method_of(recipe).has_grid) return;
  for (const nn::Linear* linear : decoder.linears()) {
    if (const auto own = layer_recipe(recipe, linear->name()))
      own->grid_granularity().check(linear->name(), linear->in_features());
  }
}

// A product of adapters has no rank above that of the weight; small models may have usual ranks.
void check_rank(const Recipe& recipe, const model::Decoder& decoder) {
  constexpr std::int64_t kUsual = 256;
  if (!method_of(recipe).has_adapters) return;
  for (const nn::Linear* linear : decoder.linears()) {
    const auto own = layer_recipe(recipe, linear->name());
    const std::int64_t most = std::min(linear->out_features(), linear->in_features());
    if (!own || own->rank <= std::max(most, kUsual)) continue;
    throw UsageError(concat("`rank` ", own->rank, ": ", linear->name(), " is ", linear->out_features(), " x ",
                            linear->in_features(), ", where a rank above ", most,
                            " adds nothing; give at most ", std::max(most, kUsual)));
  }
}

}  // namespace

void check_overrides(const Recipe& recipe, const model::Decoder& decoder) {
  std::vector<std::string> names;
  for (const nn::Linear* linear : decoder.linears()) names.push_back(linear->name());
  check_overrides_match(recipe, names);
  const auto skipped = [&](const std::string& name) { return !layer_recipe(recipe, name); };
  if (std::all_of(names.begin(), names.end(), skipped))
    fail("`overrides` skip every linear of this model: nothing would be quantized; leave some of them out");
}

void fit_windows(Recipe& recipe, const formats::ModelConfig& config) {
  constexpr std::int64_t kTokens = 512;
  const std::int64_t fitting =
      config.max_position_embeddings > 1 ? std::min(kTokens, config.max_position_embeddings) : kTokens;
  if (recipe.sequence_length == 0) recipe.sequence_length = fitting;
  if (recipe.eval_context == 0) recipe.eval_context = fitting;
  model::check_positions(config, "`sequence-length`", recipe.sequence_length);
  if (!recipe.eval_data.empty()) model::check_positions(config, "`eval-context`", recipe.eval_context);
}

Recipe fit_to_model(const Recipe& recipe, const model::Decoder& decoder, ProgressReporter& progress) {
  check_overrides(recipe, decoder);
  Recipe fitted = recipe;
  fit_windows(fitted, decoder.config());
  fit_granularity(fitted, decoder, progress);
  fit_start(fitted, decoder, progress);
  return fitted;
}

void check_fits_model(const Recipe& recipe, const model::Decoder& decoder) {
  check_overrides(recipe, decoder);
  check_granularity(recipe, decoder);
  check_rank(recipe, decoder);
}

}  // namespace lrqat::train
