#include "lrqat/train/field_use.h"

#include <algorithm>

#include "lrqat/base/error.h"
#include "lrqat/base/field_names.h"
#include "lrqat/base/user_text.h"
#include "lrqat/start/inits.h"
#include "lrqat/train/layer_recipe.h"
#include "lrqat/train/methods.h"
#include "lrqat/train/prepare_student.h"

namespace lrqat::train {
namespace {

using methods::Method;
using Names = std::vector<std::string>;

// One field: the methods that read it, and what else has to be asked for before it does anything.
struct FieldUse {
  std::string name;
  bool (*methods)(const Method&) = nullptr;    // null: all
  bool (*asked_for)(const Recipe&) = nullptr;  // null: nothing
  std::string by = {};                         // what asks for it, for the user
  std::vector<std::string> off = {};           // values that ask for nothing, so they are no mistake
};

bool is_trained(const Method& method) { return method.trains; }
bool has_grid(const Method& method) { return method.has_grid; }
bool has_adapters(const Method& method) { return method.has_adapters; }
bool trains_at_lr(const Method& method) { return method.has_adapters || method.trains_weight; }
bool has_trained_scales(const Method& method) { return method.trains_scales; }
bool keeps_frozen(const Method& method) { return method.trains && !method.trains_weight; }
bool may_decompose(const Method& method) { return static_cast<bool>(method.from_decomposition); }
bool reads_phi(const Method& method) { return method.reads.phi; }
bool reads_faithful(const Method& method) { return method.reads.faithful_downcast; }
bool reads_offset(const Method& method) { return method.reads.learn_offset; }
bool reads_weight_dtype(const Method& method) { return method.reads.weight_dtype; }
bool reads_gradient_scaling(const Method& method) { return method.reads.gradient_scaling; }

bool holds(const Names& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

bool trains(const Recipe& recipe) { return method_of(recipe).trains; }
bool has_activations(const Recipe& recipe) { return recipe.activations.any(); }
bool any_init(const Recipe& recipe, bool (*is)(const std::string& init)) {
  const auto inits = used_inits(recipe);
  return std::any_of(inits.begin(), inits.end(), is);
}
// `auto` becomes a start from text where there is something to train.
bool may_become_text_start(const Recipe& recipe) { return recipe.init == "auto" && trains(recipe); }
bool may_read_text_options(const Recipe& recipe) {
  return any_init(recipe, start::reads_text_options) ||
         (may_become_text_start(recipe) && start::auto_from_text().reads_text_options);
}
bool may_calibrate(const Recipe& recipe) {
  return may_become_text_start(recipe) || starts_from_text(recipe) || recipe.target_bpw > 0.0;
}
bool starts_blocks(const Recipe& recipe) { return any_init(recipe, start::starts_blocks); }
bool trains_or_observes(const Recipe& recipe) { return trains(recipe) || has_static_ranges(recipe); }
bool reads_text(const Recipe& recipe) { return trains(recipe) || needs_calibration(recipe); }
bool measures(const Recipe& recipe) { return reads_text(recipe) || !recipe.eval_data.empty(); }
bool has_data(const Recipe& recipe) { return !recipe.data.empty(); }
bool has_eval_data(const Recipe& recipe) { return !recipe.eval_data.empty(); }
bool goes_by_memory(const Recipe& recipe) {
  return (trains(recipe) && recipe.checkpointing == Checkpointing::automatic) || may_calibrate(recipe);
}
bool trains_floats(const Recipe& recipe) {
  return recipe.train_norms || recipe.train_head || recipe.train_embeddings;
}
bool trains_weight_scales(const Recipe& recipe) {
  return recipe.learn_scale && method_of(recipe).trains_scales;
}
bool trains_scales(const Recipe& recipe) {
  return trains_weight_scales(recipe) || recipe.activations.learn_range;
}
bool distills(const Recipe& recipe) { return recipe.distill_weight.value_or(1.0) > 0.0; }
bool keeps_teacher(const Recipe& recipe) { return distills(recipe) && !recipe.teacher_cache.empty(); }
bool clips(const Recipe& recipe) { return recipe.clip_norm > 0.0; }
bool decomposes(const Recipe& recipe) { return any_init(recipe, start::fills_adapters); }
// Whether the recipe, or one of its overrides, starts a linear so.
bool any_start(const Recipe& recipe, bool (*is)(const Recipe&)) {
  const auto overridden = overridden_recipes(recipe);
  return is(recipe) || std::any_of(overridden.begin(), overridden.end(),
                                   [&](const OverriddenRecipe& one) { return is(one.recipe); });
}
// Some starts bring a range of their own.
bool reads_range(const Recipe& recipe) {
  return any_start(recipe, [](const Recipe& one) {
    return one.init != "rtn" && one.init != "stored" && !start::start_of(one.init).block &&
           (one.init != "lp" || one.range.kind == quant::RangeEstimator::Kind::lp);
  });
}
bool leaves_downcast(const Recipe& recipe) {
  return any_start(recipe, [](const Recipe& one) { return !start::start_of(one.init).sets; });
}

// "`init` gptq or awq"
std::string of_inits(bool (*which)(const std::string& init)) { return "`init` " + start::known_inits(which); }
std::string text_to_read() {
  return concat("text that is trained on or calibrated on (", of_inits(start::needs_text), ")");
}
constexpr const char* kBits = "`activation-bits`, `down-activation-bits` or `kv-bits` below 16";
constexpr const char* kEval = "`eval-data`";
constexpr const char* kDistilled = "`distill-weight` above 0";

std::vector<FieldUse> model_and_method_rows() {
  return {
      {"model"},
      {"data"},  // where nothing reads it, the run says so
      {"data-format", nullptr, has_data, "`data`", {"auto"}},
      {"eval-data"},
      {"eval-data-format", nullptr, has_eval_data, kEval, {"auto"}},
      {"teacher", nullptr, measures, "text to train or to measure on"},
      {"teacher-cache", is_trained, distills, kDistilled},
      {"teacher-top-k", is_trained, keeps_teacher, "`teacher-cache`"},
      {"held-out", nullptr, reads_text, text_to_read(), {"0"}},
      {"method"},
      {"bits", has_grid},
      {"target-bpw", has_grid, nullptr, {}, {"0"}},
      {"for", has_grid},
      {"granularity", has_grid},
      {"phi", reads_phi},
      {"rank", has_adapters},
      {"lora-alpha", has_adapters, nullptr, {}, {"auto"}},
      {"range", has_grid, reads_range,
       "a start that looks for one (`init` rtn and stored do not, lp takes lp:P)"},
      {"scale-domain", has_grid},
      {"scale-type", has_grid},
      {"learn-scale", has_trained_scales, nullptr, {}, {"false"}},
      {"symmetric", has_grid},
      {"init"},
      {"svd-steps", may_decompose, decomposes, of_inits(start::fills_adapters)},
      {"calibration-tokens", has_grid, may_calibrate, of_inits(start::needs_text) + " or `target-bpw`"},
      {"gptq-damping", has_grid, may_read_text_options, of_inits(start::reads_text_options)},
      {"gptq-act-order", has_grid, may_read_text_options, of_inits(start::reads_text_options)},
      {"block-steps", has_grid, starts_blocks, of_inits(start::starts_blocks)},
      {"block-batch-size", has_grid, starts_blocks, of_inits(start::starts_blocks)},
      {"block-lr", has_grid, starts_blocks, of_inits(start::starts_blocks)},
      {"block-range-lr", has_grid, starts_blocks, of_inits(start::starts_blocks)},
      {"faithful-downcast", reads_faithful, leaves_downcast, "another start: `init` rtn and lp are faithful"},
      {"weight-dtype", reads_weight_dtype},
      {"learn-offset", reads_offset, nullptr, {}, {"false"}},
      {"gradient-scaling", reads_gradient_scaling, trains_weight_scales, "`learn-scale` true"},
      {"rotations"},
      {"overrides"},
  };
}

std::vector<FieldUse> activation_and_training_rows() {
  return {
      {"activation-bits"},
      {"down-activation-bits"},
      {"kv-bits"},
      {"activation-range", nullptr, has_activations, kBits},
      {"learn-activation-range", is_trained, has_activations, kBits, {"false"}},
      {"activation-batches", nullptr, has_static_ranges, "`activation-range` static and bits below 16"},
      {"steps", is_trained, nullptr, {}, {"0"}},
      {"batch-size", nullptr, trains_or_observes, "`activation-range` static"},
      {"sequence-length", nullptr, reads_text, text_to_read(), {"0"}},
      {"gradient-accumulation", is_trained},
      {"lr", trains_at_lr, nullptr, {}, {"0"}},
      {"scale-lr", nullptr, trains_scales,
       "scales that are trained (`learn-scale` true; lr-qat, l4q, lsq, peqa)"},
      {"train-norms", is_trained, nullptr, {}, {"false"}},
      {"train-head", is_trained, nullptr, {}, {"false"}},
      {"train-embeddings", is_trained, nullptr, {}, {"false"}},
      {"float-lr", is_trained, trains_floats, "`train-norms`, `train-head` or `train-embeddings`"},
      {"weight-decay", trains_at_lr, nullptr, {}, {"0"}},
      {"beta1", is_trained},
      {"beta2", is_trained},
      {"schedule", is_trained},
      {"warmup", is_trained, nullptr, {}, {"0"}},
      {"clip-norm", is_trained, nullptr, {}, {"0"}},
      {"clip-together", is_trained, clips, "`clip-norm` above 0", {"false"}},
      {"distill-weight", is_trained, nullptr, {}, {"0", "auto"}},
      {"distill-temperature", is_trained, distills, kDistilled, {"1"}},
      {"checkpointing", is_trained},
      {"map-frozen", keeps_frozen, nullptr, {}, {"false"}},
      {"memory-budget",
       nullptr,
       goes_by_memory,
       "`checkpointing` auto or " + of_inits(start::needs_text),
       {"0"}},
      {"compute-dtype"},
      {"eval-every", is_trained, nullptr, {}, {"0"}},
      {"eval-context", nullptr, has_eval_data, kEval, {"0"}},
      {"eval-windows", nullptr, has_eval_data, kEval},
      {"save-every", is_trained, nullptr, {}, {"0"}},
      {"save-minutes", is_trained, nullptr, {}, {"0"}},
      {"seed"},
  };
}

// Every field of a recipe has a row (tests/train/field_use_test.cpp holds all rows against what runs do).
const std::vector<FieldUse>& table() {
  static const std::vector<FieldUse> rows = [] {
    std::vector<FieldUse> all = model_and_method_rows();
    const std::vector<FieldUse> more = activation_and_training_rows();
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }();
  return rows;
}

// Of the methods that the field is for.
std::string names_of(const FieldUse& use) {
  std::string text;
  for (const Method* method : methods::all_methods()) {
    if (use.methods(*method)) text += (text.empty() ? "" : ", ") + method->name;
  }
  return text;
}

}  // namespace

std::string why_unused(const Recipe& recipe, const std::string& field) {
  const auto row =
      std::find_if(table().begin(), table().end(), [&](const FieldUse& use) { return use.name == field; });
  LRQAT_CHECK(row != table().end(), field);
  const std::vector<std::string> value = recipe_field(field).print(recipe);
  if (value.size() == 1 && holds(row->off, value.front())) return {};
  if (row->methods != nullptr && !row->methods(method_of(recipe))) {
    if (row->methods == is_trained) return concat("`method` ", recipe.method, " trains nothing");
    return concat("`method` ", recipe.method, " has no such thing; of ", names_of(*row));
  }
  if (row->asked_for == nullptr || row->asked_for(recipe)) return {};
  return concat("does nothing without ", row->by);
}

void check_fields_are_used(const Recipe& recipe, const std::vector<std::string>& fields) {
  for (const std::string& field : fields) {
    const std::string why = why_unused(recipe, field);
    if (!why.empty()) throw UsageError(concat(field_name(field), ": ", why));
    if (field != "overrides") continue;
    for (const OverriddenRecipe& one : overridden_recipes(recipe)) {
      for (const std::string& own : one.fields) {
        const std::string why_not = why_unused(one.recipe, own);
        if (!why_not.empty())
          throw UsageError(concat("`overrides` ", quote(one.text), ": ", own, ": ", why_not));
      }
    }
  }
}

}  // namespace lrqat::train
