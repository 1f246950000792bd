#include "lrqat/train/methods.h"

#include <ATen/ATen.h>

#include "lrqat/start/prepare.h"
#include "lrqat/train/layer_recipe.h"

namespace lrqat::train {

const methods::Method& method_of(const Recipe& recipe) { return methods::find_method(recipe.method); }

std::string parse_method(const std::string& name) { return methods::find_method(name).name; }

Recipe method_defaults(const std::string& name) {
  const methods::Method& method = methods::find_method(name);
  Recipe recipe;
  recipe.method = name;
  const methods::MethodDefaults& own = method.defaults;
  recipe.lr = own.lr.value_or(recipe.lr);
  recipe.scale_lr = own.scale_lr.value_or(recipe.scale_lr);
  recipe.beta2 = own.beta2.value_or(recipe.beta2);
  recipe.scale_domain = own.scale_domain.value_or(recipe.scale_domain);
  if (own.distill_weight) recipe.distill_weight = own.distill_weight;
  if (own.compute) recipe.compute_dtype = *own.compute == ops::ComputeType::bfloat16 ? "bfloat16" : "float32";
  return recipe;
}

bool starts_from_stored(const methods::Method& method, const Recipe& recipe, const nn::Linear& linear) {
  const auto plan = plan_of(recipe)(linear.name());
  return plan && start::starts_from_stored(method, *plan, linear);
}

methods::WeightPtr restore_layer(const methods::Method& method, const Recipe& recipe,
                                 const methods::SavedLayer& saved) {
  const std::optional<Recipe> own = layer_recipe(recipe, saved.name);
  return own ? method.restore(saved, layer_options(*own, saved.name)) : nullptr;
}

}  // namespace lrqat::train
