#include "lrqat/train/fit_granularity.h"

#include <algorithm>
#include <map>
#include <set>

#include "lrqat/base/error.h"
#include "lrqat/formats/gguf_obstacle.h"
#include "lrqat/train/layer_grid.h"
#include "lrqat/train/layer_recipe.h"
#include "lrqat/train/methods.h"
#include "lrqat/train/target.h"

namespace lrqat::train {
namespace {

using quant::Granularity;

// ---- messages

// Of linears that are not even held with a scale for each channel.
[[noreturn]] void fail_target(const Target& target, const Layers& all, const model::Decoder& decoder) {
  const Granularity channel{Granularity::Kind::channel, 0};
  Layers refused;
  for (const Layer& layer : all) {
    if (!is_held(target, channel, layer)) refused.push_back(layer);
  }
  LRQAT_CHECK(!refused.empty());
  fail("`for` ", target.name, " does not hold ", names_of(refused, decoder), ": ",
       target.obstacle(refused.front().grid, channel), "; train `for` another format (", known_targets(),
       "), leave such linears float with `overrides` \"PATTERN skip\", or give a `granularity`");
}

// Formats with one width and granularity for all linears, before training that another format would need.
void check_one_grid(const Target& target, const Layers& layers) {
  const Recipe& first = layers.front().own;
  for (const Layer& layer : layers) {
    if (layer.own.bits == first.bits && layer.own.symmetric == first.symmetric &&
        layer.own.granularity == first.granularity) {
      continue;
    }
    fail("`for` ", target.name, ": ", layer.linear->name(), " and ", layers.front().linear->name(),
         " differ in bits, granularity or symmetry, which ", target.name,
         " does not hold; gguf and compressed-tensors do");
  }
}

// What was asked for by name is trained as it is.
void warn_of(const Target& target, const Layers& named, const model::Decoder& decoder,
             ProgressReporter& progress) {
  std::map<std::string, Layers> by_obstacle;
  for (const Layer& layer : named) {
    if (!divides(*layer.own.granularity, layer)) continue;  // an error of its own
    const std::string obstacle = target.obstacle(layer.grid, *layer.own.granularity);
    if (!obstacle.empty()) by_obstacle[obstacle].push_back(layer);
  }
  for (const auto& [obstacle, layers] : by_obstacle) {
    progress.message(concat("warning: ", target.name, " will not hold ", names_of(layers, decoder), ": ",
                            obstacle, "; `for` says what the run is for"));
  }
}

// What no granularity changes: the model as a whole, and what a method leaves.
void check_target(const Target& target, const methods::Method& method, const model::Decoder& decoder,
                  ProgressReporter& progress) {
  if (target.name == "peft" && !method.adapters_stay) {
    throw UsageError(
        concat("`for` peft is for adapters that stay beside the integers, of `method` qlora and lora; the "
               "adapters of `method` ",
               method.name, " go into the integers: use `for` gguf or another of ", known_targets()));
  }
  if (target.name != "gguf") return;
  const std::string obstacle = formats::gguf_obstacle(decoder.config());
  if (!obstacle.empty())
    progress.message(concat("warning: `for` gguf, but ", obstacle, ": name one of them with `for`"));
}

// ---- the choice, written into the recipe

struct Chosen {
  Layer layer;
  Granularity granularity;
};

Granularity most_common(const std::vector<Chosen>& chosen) {
  std::map<std::string, std::int64_t> count;
  for (const Chosen& one : chosen) ++count[one.granularity.name()];
  const auto most = std::max_element(count.begin(), count.end(),
                                     [](const auto& a, const auto& b) { return a.second < b.second; });
  return Granularity::parse(most->first);
}

// "granularity group:32, for gguf; 32 does not divide in_features 48 of …: channel there"
std::string description(const std::vector<Chosen>& chosen, const Granularity& common, const Target& target,
                        const model::Decoder& decoder) {
  std::map<std::string, Layers> exceptions;  // by what is said of them, … for their names
  for (const auto& [layer, granularity] : chosen) {
    const Granularity best = target.granularities(layer.grid).front();
    if (!divides(best, layer)) {
      exceptions[concat(best.group_size, " does not divide in_features ", layer.grid.in_features,
                        " of …: ", granularity.name(), " there")]
          .push_back(layer);
    } else if (granularity != common) {
      exceptions[concat(granularity.name(), " in …")].push_back(layer);
    }
  }
  std::string text = concat("granularity ", common.name(), ", for ", target.name);
  for (const auto& [what, layers] : exceptions) {
    constexpr std::string_view kNames = "…";
    const std::size_t place = what.find(kNames);
    text +=
        concat("; ", what.substr(0, place), names_of(layers, decoder), what.substr(place + kNames.size()));
  }
  return text;
}

void write(const std::vector<Chosen>& chosen, const model::Decoder& decoder, Recipe& recipe) {
  recipe.granularity = most_common(chosen);
  std::map<std::string, std::set<std::string>> others;  // by granularity
  for (const auto& [layer, granularity] : chosen) {
    const std::string& name = layer.linear->name();
    if (layer_recipe(recipe, name)->granularity != granularity) others[granularity.name()].insert(name);
  }
  for (const auto& [granularity, names] : others) {
    for (const std::string& pattern : patterns_of(names, decoder))
      recipe.overrides.push_back(concat(pattern, " granularity=", granularity));
  }
}

}  // namespace

void fit_granularity(Recipe& recipe, const model::Decoder& decoder, ProgressReporter& progress) {
  const Granularity channel{Granularity::Kind::channel, 0};
  if (!method_of(recipe).has_grid) {
    recipe.granularity = recipe.granularity.value_or(channel);
    return;
  }
  const Target& target = find_target(recipe.target);
  check_target(target, method_of(recipe), decoder, progress);
  Layers open, named;  // without and with a granularity of their own
  for (Layer& layer : layers_of(recipe, decoder))
    (layer.own.granularity ? named : open).push_back(std::move(layer));
  warn_of(target, named, decoder, progress);
  std::vector<Chosen> chosen;
  const auto decide = [&](const Layers& layers) {
    const auto choice = choose_granularity(target, layers);
    if (!choice) fail_target(target, open, decoder);
    for (const Layer& layer : layers) chosen.push_back({layer, *choice});
  };
  if (target.one_grid && !open.empty()) {
    decide(open);
  } else {
    for (const Layer& layer : open) decide({layer});
  }
  if (chosen.empty()) {
    recipe.granularity = recipe.granularity.value_or(channel);  // no linear asks for it
  } else {
    const std::string said = description(chosen, most_common(chosen), target, decoder);
    write(chosen, decoder, recipe);
    progress.message(said);
  }
  if (target.one_grid) check_one_grid(target, layers_of(recipe, decoder));
}

}  // namespace lrqat::train
