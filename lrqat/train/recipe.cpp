#include "lrqat/train/recipe.h"

#include <cmath>
#include <utility>

#include "lrqat/base/error.h"
#include "lrqat/base/field_names.h"
#include "lrqat/base/file.h"
#include "lrqat/base/user_text.h"
#include "lrqat/model/load.h"
#include "lrqat/start/inits.h"
#include "lrqat/train/layer_recipe.h"
#include "lrqat/train/methods.h"
#include "lrqat/train/prepare_student.h"
#include "lrqat/train/toml.h"

namespace lrqat::train {

std::int64_t Recipe::warmup_steps() const {
  return warmup < 1.0 ? std::llround(warmup * static_cast<double>(steps)) : std::llround(warmup);
}

const quant::Granularity& Recipe::grid_granularity() const {
  LRQAT_CHECK(granularity.has_value(), "fit_to_model was not called");
  return *granularity;
}

ops::ComputeType Recipe::compute() const { return model::parse_compute_type(compute_dtype); }

quant::ScaleOptions Recipe::scale_options() const {
  quant::ScaleOptions options;
  options.domain = scale_domain;
  options.type = scale_type;
  options.learn = learn_scale;
  return options;
}

quant::QuantSpec Recipe::spec() const {
  return {quant::Grid::signed_symmetric(bits), grid_granularity(), scale_options(), symmetric};
}

const RecipeField& recipe_field(const std::string& name) {
  std::string known;
  std::vector<std::string> names;
  for (const RecipeField& field : recipe_fields()) {
    if (field.name == name) return field;
    known += (known.empty() ? "" : ", ") + field.name;
    names.push_back(field.name);
  }
  throw UsageError(
      concat("a recipe has no field ", quote(name), did_you_mean(name, names), "; it has ", known));
}

namespace {

// A method takes each of its linears' starts, and one way of looking at calibration text is the model's.
void check_inits(const Recipe& recipe) {
  std::vector<std::string> by_text;
  bool transforms = false;
  for (const std::string& init : used_inits(recipe)) {
    start::check_init(method_of(recipe), init);
    transforms = transforms || start::is_transform(init);
    if (start::needs_text(init))
      by_text.insert(start::is_transform(init) ? by_text.end() : by_text.begin(), init);
  }
  if (!transforms || by_text.size() < 2) return;
  throw UsageError(concat("`init` ", by_text[0], " for some linears and ", by_text[1],
                          " for others do not go together in one model"));
}

// Counts of tokens must fit 64 bits.
void check_tokens(const Recipe& recipe) {
  constexpr double kMostTokens = 1e9;
  const std::int64_t sequence_length =
      recipe.sequence_length > 0 ? recipe.sequence_length : 512;  // 0: by the model
  const double tokens = static_cast<double>(recipe.batch_size) * static_cast<double>(sequence_length) *
                        static_cast<double>(recipe.gradient_accumulation);
  if (tokens <= kMostTokens) return;
  throw UsageError(concat("`batch-size` ", recipe.batch_size, ", `sequence-length` ", sequence_length,
                          " and `gradient-accumulation` ", recipe.gradient_accumulation, " together are ",
                          tokens, " tokens a step; at most ", kMostTokens, " are allowed"));
}

}  // namespace

void validate(const Recipe& recipe, bool needs_data) {
  if (recipe.model.empty()) throw UsageError("`model` is missing: a Hugging Face folder or a GGUF file");
  check_inits(recipe);
  const bool trains = method_of(recipe).trains;
  if (needs_data && recipe.data.empty() && ((trains && recipe.steps > 0) || needs_calibration(recipe)))
    throw UsageError("`data` is missing: one or more text files");
  if ((recipe.train_norms || recipe.train_head || recipe.train_embeddings) && !trains) {
    throw UsageError(concat("`method` ", recipe.method,
                            " trains nothing: `train-norms`, `train-head` and `train-embeddings` do not go "
                            "with it"));
  }
  check_tokens(recipe);
  if (recipe.warmup_steps() > recipe.steps) {
    throw UsageError(concat("`warmup` ", recipe.warmup, " is longer than `steps` ", recipe.steps));
  }
  if (recipe.phi == quant::Downcast::int4 && recipe.bits > 4) {
    throw UsageError(concat("`phi` int4 holds at most 4 bits, not `bits` ", recipe.bits));
  }
  const quant::ActivationOptions& activations = recipe.activations;
  if (activations.learn_range && activations.range == quant::ActivationRange::dynamic) {
    throw UsageError(
        "`learn-activation-range` true needs `activation-range` static: dynamic ranges are each token's");
  }
  if (activations.learn_range && !method_of(recipe).trains) {
    throw UsageError(concat("`learn-activation-range` true needs a method that trains, not ", recipe.method));
  }
  if (recipe.beta1 >= 1.0 || recipe.beta2 >= 1.0) throw UsageError("`beta1` and `beta2` must be below 1");
}

void read_recipe(const std::filesystem::path& path, Recipe& recipe) {
  for (const TomlEntry& entry : parse_toml(read_text_file(path), path.string())) {
    const std::string where = concat(path.string(), ":", entry.line);
    try {
      const RecipeField& field = recipe_field(entry.key);
      if (entry.is_list != field.is_list && !(field.is_list && entry.values.size() == 1)) {
        throw UsageError(concat(entry.key, field.is_list ? " takes a list" : " takes one value"));
      }
      field.parse(recipe, entry.values);
    } catch (const UsageError& error) {
      throw UsageError(concat(where, ": ", with_field_names(error.what(), "")));
    }
  }
}

std::string print_recipe(const Recipe& recipe) {
  std::string out;
  for (const RecipeField& field : recipe_fields()) {
    out += print_toml({field.name, field.print(recipe), field.is_list, field.is_text, 0}) + "\n";
  }
  return out;
}

}  // namespace lrqat::train
