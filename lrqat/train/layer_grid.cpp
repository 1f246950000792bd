#include "lrqat/train/layer_grid.h"

#include <algorithm>
#include <cctype>

#include "lrqat/base/error.h"
#include "lrqat/quant/on_grid.h"
#include "lrqat/start/inits.h"
#include "lrqat/train/layer_recipe.h"

namespace lrqat::train {
namespace {

using quant::Granularity;

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

std::string first_of(const std::vector<std::string>& patterns) {
  constexpr std::size_t kMost = 4;
  std::string text;
  for (std::size_t i = 0; i < std::min(kMost, patterns.size()); ++i) {
    text += (i == 0 ? "" : ", ") + patterns[i];
  }
  return patterns.size() > kMost ? concat(text, " and ", patterns.size() - kMost, " more") : text;
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

}  // namespace

LinearGrid grid_of(const Recipe& own, const nn::Linear& linear) {
  return {linear.out_features(), linear.in_features(), quant::Grid::signed_symmetric(own.bits), own.symmetric,
          own.scale_type == quant::ScaleType::float32 ? 32 : 16};
}

Layers layers_of(const Recipe& recipe, const model::Decoder& decoder) {
  Layers layers;
  for (const nn::Linear* linear : decoder.linears()) {
    if (const auto own = layer_recipe(recipe, linear->name()))
      layers.push_back({linear, *own, grid_of(*own, *linear)});
  }
  return layers;
}

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

std::string names_of(const Layers& layers, const model::Decoder& decoder) {
  std::set<std::string> names;
  for (const Layer& layer : layers) names.insert(layer.linear->name());
  return first_of(patterns_of(names, decoder));
}

bool divides(const Granularity& granularity, const Layer& layer) {
  return granularity.kind != Granularity::Kind::group || layer.grid.in_features % granularity.group_size == 0;
}

bool is_held(const Target& target, const Granularity& granularity, const Layer& layer) {
  return divides(granularity, layer) && target.obstacle(layer.grid, granularity).empty();
}

std::optional<Granularity> choose_granularity(const Target& target, const Layers& layers) {
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

}  // namespace lrqat::train
