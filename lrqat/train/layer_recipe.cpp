#include "lrqat/train/layer_recipe.h"

#include <algorithm>
#include <array>
#include <sstream>
#include <string_view>
#include <utility>

#include "lrqat/base/error.h"
#include "lrqat/base/user_text.h"
#include "lrqat/start/inits.h"

namespace lrqat::train {
namespace {

// What may differ from layer to layer: how Ŵ is made, not how it is trained.
constexpr std::array<std::string_view, 12> kLayerFields{
    "bits",       "granularity", "symmetric", "phi",       "faithful-downcast", "rank",
    "lora-alpha", "range",       "init",      "svd-steps", "weight-dtype",      "learn-offset"};

struct Override {
  std::string pattern;
  bool skip = false;
  std::vector<std::pair<std::string, std::string>> fields;
};

[[noreturn]] void fail_override(const std::string& text, const std::string& what) {
  throw UsageError(concat("`overrides` ", quote(text), ": ", what));
}

Override parse_override(const std::string& text) {
  std::istringstream words(text);
  Override result;
  std::string word;
  words >> result.pattern;
  while (words >> word) {
    const std::size_t equals = word.find('=');
    if (word == "skip") {
      result.skip = true;
    } else if (equals != std::string::npos) {
      result.fields.emplace_back(word.substr(0, equals), word.substr(equals + 1));
    } else {
      fail_override(text, concat(quote(word), " is neither key=value nor skip"));
    }
  }
  if (result.pattern.find('=') != std::string::npos || result.pattern.empty() ||
      result.skip == !result.fields.empty()) {
    fail_override(text, "expected \"PATTERN key=value …\" or \"PATTERN skip\", as \"*.down_proj bits=8\"");
  }
  return result;
}

void apply(const Override& one, const std::string& text, Recipe& recipe) {
  for (const auto& [key, value] : one.fields) {
    if (std::find(kLayerFields.begin(), kLayerFields.end(), key) == kLayerFields.end()) {
      std::string known;
      for (const std::string_view name : kLayerFields) known += concat(known.empty() ? "" : ", ", name);
      fail_override(text, concat(quote(key), " is not a field of a single layer; those are ", known));
    }
    try {
      recipe_field(key).parse(recipe, {value});
    } catch (const UsageError& error) {
      fail_override(text, error.what());
    }
  }
}

// FNV-1a.
std::uint64_t layer_seed(std::uint64_t seed, const std::string& layer) {
  std::uint64_t hash = 0xcbf29ce484222325ULL ^ seed;
  for (const char c : layer) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  return hash;
}

}  // namespace

bool matches_pattern(const std::string& pattern, const std::string& name) {
  std::size_t p = 0, n = 0, star = std::string::npos, resume = 0;
  while (n < name.size()) {
    if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == name[n]) && pattern[p] != '*') {
      ++p;
      ++n;
    } else if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = n;
    } else if (star != std::string::npos) {  // the last star takes one character more
      p = star + 1;
      n = ++resume;
    } else {
      return false;
    }
  }
  return pattern.find_first_not_of('*', p) == std::string::npos;
}

void check_override(const std::string& text) {
  Recipe scratch;
  apply(parse_override(text), text, scratch);
}

std::optional<Recipe> layer_recipe(const Recipe& recipe, const std::string& layer) {
  Recipe result = recipe;
  bool skip = false;
  for (const std::string& text : recipe.overrides) {
    const Override one = parse_override(text);
    if (!matches_pattern(one.pattern, layer)) continue;
    skip = one.skip;
    apply(one, text, result);
  }
  if (skip) return std::nullopt;
  if (const auto& sets = start::start_of(result.init).sets) sets(result.range, result.faithful_downcast);
  return result;
}

bool is_overridden(const Recipe& recipe, const std::string& layer, const std::string& field) {
  return std::any_of(recipe.overrides.begin(), recipe.overrides.end(), [&](const std::string& text) {
    const Override one = parse_override(text);
    return matches_pattern(one.pattern, layer) &&
           std::any_of(one.fields.begin(), one.fields.end(),
                       [&](const auto& pair) { return pair.first == field; });
  });
}

methods::LayerOptions layer_options(const Recipe& own, const std::string& layer) {
  return {.spec = own.spec(),
          .range = own.range,
          .phi = own.phi,
          .faithful_downcast = own.faithful_downcast,
          .rank = own.rank,
          .lora_alpha = own.alpha(),
          .weight_dtype = own.weight_dtype,
          .learn_offset = own.learn_offset,
          .gradient_scaling = own.gradient_scaling,
          .svd_steps = own.svd_steps,
          .seed = layer_seed(own.seed, layer)};
}

start::PlanOf plan_of(const Recipe& recipe) {
  return [&recipe](const std::string& linear) -> std::optional<start::LinearPlan> {
    const std::optional<Recipe> own = layer_recipe(recipe, linear);
    if (!own) return std::nullopt;
    return start::LinearPlan{own->init, layer_options(*own, linear)};
  };
}

std::set<std::string> used_inits(const Recipe& recipe) {
  std::set<std::string> inits{recipe.init};
  for (const OverriddenRecipe& one : overridden_recipes(recipe)) inits.insert(one.recipe.init);
  return inits;
}

std::vector<OverriddenRecipe> overridden_recipes(const Recipe& recipe) {
  std::vector<OverriddenRecipe> found;
  for (const std::string& text : recipe.overrides) {
    const Override one = parse_override(text);
    OverriddenRecipe overridden{text, recipe, {}};
    apply(one, text, overridden.recipe);
    for (const auto& [key, value] : one.fields) overridden.fields.push_back(key);
    found.push_back(std::move(overridden));
  }
  return found;
}

void check_overrides_match(const Recipe& recipe, const std::vector<std::string>& layers) {
  for (const std::string& text : recipe.overrides) {
    const std::string pattern = parse_override(text).pattern;
    const auto matches = [&](const std::string& layer) { return matches_pattern(pattern, layer); };
    if (std::any_of(layers.begin(), layers.end(), matches)) continue;
    fail_override(text, concat("the pattern matches no linear of this model; they are named as ",
                               layers.empty() ? "" : layers.front()));
  }
}

}  // namespace lrqat::train
