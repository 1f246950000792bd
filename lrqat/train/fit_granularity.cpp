#include "lrqat/train/fit_granularity.h"

#include <algorithm>
#include <cctype>
#include <map>
#include <optional>
#include <set>

#include "lrqat/base/error.h"
#include "lrqat/formats/gguf_obstacle.h"
#include "lrqat/model/source_weight.h"
#include "lrqat/quant/on_grid.h"
#include "lrqat/start/inits.h"
#include "lrqat/train/layer_recipe.h"
#include "lrqat/train/methods.h"
#include "lrqat/train/target.h"

namespace lrqat::train {
namespace {

using quant::Granularity;

// A linear that takes part in quantization.
struct Layer {
  const nn::Linear* linear;
  Recipe own;
  LinearGrid grid;
};
using Layers = std::vector<Layer>;

Layers layers_of(const Recipe& recipe, const model::Decoder& decoder) {
  Layers layers;
  for (const nn::Linear* linear : decoder.linears()) {
    const auto own = layer_recipe(recipe, linear->name());
    if (!own) continue;  // stays float
    layers.push_back({linear,
                      *own,
                      {linear->out_features(), linear->in_features(),
                       quant::Grid::signed_symmetric(own->bits), own->symmetric}});
  }
  return layers;
}

// ---- names

// "model.layers.*.mlp.down_proj" for every layer's.
std::string any_layer(const std::string& name) {
  std::string pattern;
  for (std::size_t i = 0; i < name.size(); ++i) {
    std::size_t end = i;
    while (end < name.size() && std::isdigit(static_cast<unsigned char>(name[end])) != 0) ++end;
    const bool whole = end > i && i > 0 && name[i - 1] == '.' && end < name.size() && name[end] == '.';
    if (!whole) {
      pattern.push_back(name[i]);
      continue;
    }
    pattern.push_back('*');
    i = end - 1;
  }
  return pattern;
}

// The fewest patterns that name these linears of the decoder and no others.
std::vector<std::string> patterns_of(const std::set<std::string>& names, const model::Decoder& decoder) {
  std::vector<std::string> patterns;
  for (const std::string& name : names) {
    std::string pattern = any_layer(name);
    const auto all = decoder.linears();
    const bool only_these = std::all_of(all.begin(), all.end(), [&](const nn::Linear* linear) {
      return !matches_pattern(pattern, linear->name()) || names.contains(linear->name());
    });
    if (!only_these) pattern = name;
    if (std::find(patterns.begin(), patterns.end(), pattern) == patterns.end()) patterns.push_back(pattern);
  }
  return patterns;
}

std::string first_of(const std::vector<std::string>& patterns) {
  constexpr std::size_t kMost = 4;
  std::string text;
  for (std::size_t i = 0; i < std::min(kMost, patterns.size()); ++i) {
    text += (i == 0 ? "" : ", ") + patterns[i];
  }
  return patterns.size() > kMost ? concat(text, " and ", patterns.size() - kMost, " more") : text;
}

std::string names_of(const Layers& layers, const model::Decoder& decoder) {
  std::set<std::string> names;
  for (const Layer& layer : layers) names.insert(layer.linear->name());
  return first_of(patterns_of(names, decoder));
}

// ---- what fits

bool divides(const Granularity& granularity, const Layer& layer) {
  return granularity.kind != Granularity::Kind::group || layer.grid.in_features % granularity.group_size == 0;
}

bool is_held(const Target& target, const Granularity& granularity, const Layer& layer) {
  return divides(granularity, layer) && target.obstacle(layer.grid, granularity).empty();
}

std::optional<quant::QuantizedWeight> stored_start(const Layer& layer) {
  if (start::start_of(layer.own.init).stored == start::Stored::ignored) return std::nullopt;
  return layer.linear->weight()->stored_integers();
}

// Whether training can start from the integers that the linear has, code by code.
bool keeps_integers(const Granularity& granularity, const Layer& layer) {
  const auto stored = stored_start(layer);
  std::string obstacle;
  return stored && divides(granularity, layer) &&
         quant::on_grid(*stored, layer.grid.grid, granularity, layer.own.symmetric, obstacle).has_value();
}

// Best first: the stored one, the target's own, whole channels.
std::vector<Granularity> candidates(const Target& target, const Layer& layer) {
  std::vector<Granularity> found = target.granularities(layer.grid);
  if (const auto stored = stored_start(layer)) found.insert(found.begin(), stored->granularity);
  found.push_back({Granularity::Kind::channel, 0});
  return found;
}

// The first that suits all of these linears; integers that can be kept are, whatever the target.
std::optional<Granularity> choose(const Target& target, const Layers& layers) {
  const auto choices = candidates(target, layers.front());
  const auto first = [&](const auto& suits) -> std::optional<Granularity> {
    const auto found = std::find_if(choices.begin(), choices.end(), [&](const Granularity& choice) {
      return std::all_of(layers.begin(), layers.end(),
                         [&](const Layer& layer) { return suits(choice, layer); });
    });
    return found == choices.end() ? std::nullopt : std::optional(*found);
  };
  const auto held = [&](const Granularity& choice, const Layer& layer) {
    return is_held(target, choice, layer);
  };
  if (stored_start(layers.front())) {
    const auto both = first([&](const Granularity& choice, const Layer& layer) {
      return held(choice, layer) && keeps_integers(choice, layer);
    });
    if (both) return both;
    if (const auto kept = first(keeps_integers)) return kept;
  }
  return first(held);
}

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
    const auto choice = choose(target, layers);
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
