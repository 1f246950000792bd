#include "lrqat/train/field_use.h"

#include <algorithm>

#include "lrqat/base/error.h"
#include "lrqat/train/layer_recipe.h"
#include "lrqat/train/methods.h"

namespace lrqat::train {
namespace {

// Fields that some methods have not, and the methods that have them.
struct MethodField {
  std::string name;
  std::vector<std::string> methods;
};

const std::vector<MethodField>& method_fields() {
  static const std::vector<std::string> adapters{"lr-qat", "l4q", "qlora", "lora"};
  static const std::vector<std::string> scales{"lr-qat", "l4q", "lsq", "peqa"};  // that are trained
  static const std::vector<MethodField> table{
      {"phi", {"lr-qat"}},
      {"faithful-downcast", {"lr-qat"}},
      {"rank", adapters},
      {"lora-alpha", adapters},
      {"svd-steps", {"lr-qat", "qlora"}},
      {"weight-dtype", {"l4q", "lora"}},
      {"learn-offset", {"l4q"}},
      {"gradient-scaling", {"l4q", "lsq"}},
      {"scale-domain", {"lr-qat", "l4q", "lsq", "peqa", "qlora", "rtn"}},
      {"learn-scale", scales},
  };
  return table;
}

// Fields that another one has to ask for.
struct DependentField {
  std::string name;
  bool (*asked_for)(const Recipe&);
  std::string by;
};

bool has_activations(const Recipe& recipe) { return recipe.activations.any(); }
bool has_static_ranges(const Recipe& recipe) {
  return recipe.activations.any() && recipe.activations.range == quant::ActivationRange::fixed;
}
bool may_start_from(const Recipe& recipe, const char* init) {
  return recipe.init == "auto" || uses_value(recipe, "init", init);
}
bool may_use_gptq(const Recipe& recipe) { return may_start_from(recipe, "gptq"); }
bool may_calibrate(const Recipe& recipe) { return may_use_gptq(recipe) || may_start_from(recipe, "awq"); }
bool trains_floats(const Recipe& recipe) {
  return recipe.train_norms || recipe.train_head || recipe.train_embeddings;
}
bool trains_scales(const Recipe& recipe) {
  const auto& have =
      std::find_if(method_fields().begin(), method_fields().end(), [](const MethodField& field) {
        return field.name == "learn-scale";
      })->methods;
  return (recipe.learn_scale && std::find(have.begin(), have.end(), recipe.method) != have.end()) ||
         recipe.activations.learn_range;
}

const std::vector<DependentField>& dependent_fields() {
  static const std::vector<DependentField> table{
      {"svd-steps", [](const Recipe& recipe) { return uses_value(recipe, "init", "svd"); }, "--init svd"},
      {"gptq-damping", may_use_gptq, "--init gptq"},
      {"gptq-act-order", may_use_gptq, "--init gptq"},
      {"calibration-tokens", may_calibrate, "--init gptq or awq"},
      {"activation-range", has_activations, "--activation-bits or --kv-bits below 16"},
      {"learn-activation-range", has_activations, "--activation-bits or --kv-bits below 16"},
      {"activation-batches", has_static_ranges, "--activation-range static and bits below 16"},
      {"float-lr", trains_floats, "--train-norms, --train-head or --train-embeddings"},
      {"scale-lr", trains_scales, "scales that are trained (--learn-scale true; lr-qat, l4q, lsq, peqa)"},
  };
  return table;
}

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

}  // namespace

std::string why_unused(const Recipe& recipe, const std::string& field) {
  for (const MethodField& row : method_fields()) {
    if (row.name != field) continue;
    if (std::find(row.methods.begin(), row.methods.end(), recipe.method) != row.methods.end()) continue;
    return concat("--method ", recipe.method, " has no such thing; of ", joined(row.methods));
  }
  for (const DependentField& row : dependent_fields()) {
    if (row.name == field && !row.asked_for(recipe)) return concat("does nothing without ", row.by);
  }
  return {};
}

void check_fields_are_used(const Recipe& recipe, const std::vector<std::string>& fields) {
  for (const std::string& field : fields) {
    const std::string why = why_unused(recipe, field);
    if (!why.empty()) throw UsageError(concat("--", field, ": ", why));
  }
}

}  // namespace lrqat::train
