#include "lrqat/train/fit_bits.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <utility>

#include "lrqat/base/error.h"
#include "lrqat/formats/fused_projections.h"
#include "lrqat/train/bit_budget.h"
#include "lrqat/train/bit_table.h"
#include "lrqat/train/layer_recipe.h"
#include "lrqat/train/sensitivity.h"

namespace lrqat::train {
namespace {

constexpr std::int64_t kTokens = 4096;  // that sensitivities are measured on, at most
constexpr int kWidths[] = {2, 3, 4, 8};

// Linears with one width, as they would be.
struct Candidate {
  int bits = 0;
  Layers layers;
  std::int64_t stored_bits = 0;
};

// Linears that have to have the same width, and their choices, fewest bits first.
struct Item {
  Layers layers;
  std::vector<Candidate> candidates;
};

[[noreturn]] void fail_held(const Target& target, const Layer& layer) {
  throw UsageError(concat(
      "`target-bpw`: ", target.name, " does not hold ", layer.linear->name(), " with ", layer.own.bits,
      " bits and scales of ", layer.own.granularity ? layer.own.granularity->name() : "any groups", ": ",
      target.obstacle(layer.grid, layer.own.granularity.value_or(quant::Granularity::parse("channel")))));
}

// Nothing: the target does not hold them so.
std::optional<Candidate> candidate(const Target& target, Layers layers, int bits) {
  Layers open;
  for (Layer& layer : layers) {
    if (layer.own.phi == quant::Downcast::int4 && bits > 4) return std::nullopt;
    layer.own.bits = bits;
    layer.grid = grid_of(layer.own, *layer.linear);
    if (!layer.own.granularity) open.push_back(layer);
  }
  const auto granularity = open.empty() ? std::nullopt : choose_granularity(target, open);
  if (!open.empty() && !granularity) return std::nullopt;
  std::int64_t stored = 0;
  for (Layer& layer : layers) {
    if (!layer.own.granularity) layer.own.granularity = granularity;
    if (!is_held(target, *layer.own.granularity, layer)) return std::nullopt;
    stored += target.stored_bits(layer.grid, *layer.own.granularity);
  }
  return Candidate{bits, std::move(layers), stored};
}

// Without those that are no smaller than one of more bits.
std::vector<Candidate> candidates_of(const Target& target, const Layers& layers) {
  std::vector<Candidate> found;
  for (const int bits : kWidths) {
    auto one = candidate(target, layers, bits);
    if (!one) continue;
    std::erase_if(found, [&](const Candidate& other) { return other.stored_bits >= one->stored_bits; });
    found.push_back(std::move(*one));
  }
  if (found.empty()) fail_held(target, layers.front());
  return found;
}

// By the linear's name: linears of the same number have the same width.
std::map<std::string, std::size_t> numbers_of(const Target& target, const model::Decoder& decoder) {
  std::map<std::string, std::size_t> numbers;
  std::size_t next = 0;
  for (std::int64_t i = 0; i < decoder.num_layers(); ++i) {
    for (const model::ConstLinearGroup& group : decoder.layer(i).linear_groups()) {
      for (const nn::Linear* linear : group.linears) {
        const bool together = target.fuses || formats::fused_part(decoder.config(), linear->name());
        if (!target.one_grid && (!together || linear == group.linears.front())) ++next;
        numbers[linear->name()] = next;
      }
    }
  }
  return numbers;
}

std::vector<Item> items_of(const Target& target, const Recipe& recipe, const model::Decoder& decoder) {
  const auto numbers = numbers_of(target, decoder);
  std::map<std::size_t, Layers> free;
  std::vector<Item> items;
  for (const Layer& layer : layers_of(recipe, decoder)) {
    if (!is_overridden(recipe, layer.linear->name(), "bits")) {
      free[numbers.at(layer.linear->name())].push_back(layer);
      continue;
    }
    auto only = candidate(target, {layer}, layer.own.bits);
    if (!only) fail_held(target, layer);
    items.push_back({{layer}, {std::move(*only)}});
  }
  for (const auto& [number, layers] : free) items.push_back({layers, candidates_of(target, layers)});
  return items;
}

// The cheapest candidates within the budget, one for each item.
std::vector<std::size_t> choose(const std::vector<Item>& items, std::int64_t budget, const Recipe& recipe,
                                model::Decoder& decoder, const PackedDataset& text,
                                ProgressReporter& progress) {
  std::map<std::string, Sensitivity> sensitivities;
  const auto is_open = [](const Item& item) { return item.candidates.size() > 1; };
  if (std::any_of(items.begin(), items.end(), is_open)) {
    decoder.set_compute(recipe.compute());
    sensitivities = measure_sensitivity(decoder, text, std::min(kTokens, recipe.calibration_tokens),
                                        recipe.seed, progress);
    progress.start("rounding at each width", std::ssize(items));
  }
  std::vector<std::vector<Choice>> choices;
  for (const Item& item : items) {
    auto& own = choices.emplace_back();
    for (const Candidate& candidate : item.candidates) {
      double cost = 0.0;
      for (const Layer& layer : candidate.layers) {
        if (!is_open(item)) break;
        cost += rounding_cost(sensitivities.at(layer.linear->name()), *layer.linear, layer.own.spec(),
                              layer.own.range);
      }
      own.push_back({candidate.stored_bits, cost});
    }
    if (!sensitivities.empty()) progress.update(std::ssize(choices), "");
  }
  if (!sensitivities.empty()) progress.finish();
  const auto chosen = cheapest_within(choices, budget);
  LRQAT_CHECK(chosen.has_value());
  return *chosen;
}

std::int64_t budget_of(const std::vector<Item>& items, const Target& target, double target_bpw) {
  std::int64_t weights = 0, smallest = 0;
  for (const Item& item : items) {
    for (const Layer& layer : item.layers) weights += layer.weights();
    smallest += item.candidates.front().stored_bits;
  }
  const double budget = std::floor(target_bpw * static_cast<double>(weights));
  if (static_cast<double>(smallest) > budget) {
    throw UsageError(concat("`target-bpw` ", target_bpw, ": the linears of this model take ",
                            static_cast<double>(smallest) / static_cast<double>(weights),
                            " bits a weight or more for ", target.name,
                            ", scales and what `overrides` and `granularity` ask for included"));
  }
  return static_cast<std::int64_t>(budget);
}

// Every linear is named, so that nothing is left to choose where the recipe is read again.
void write(const Layers& layers, const model::Decoder& decoder, Recipe& recipe) {
  std::map<std::pair<int, std::string>, std::set<std::string>> names;
  for (const Layer& layer : layers) {
    names[{layer.own.bits, layer.own.granularity->name()}].insert(layer.linear->name());
  }
  const auto most = std::max_element(names.begin(), names.end(), [](const auto& a, const auto& b) {
    return a.second.size() < b.second.size();
  });
  recipe.bits = most->first.first;
  recipe.granularity = quant::Granularity::parse(most->first.second);
  for (const auto& [grid, linears] : names) {
    std::set<std::string> unsaid;
    for (const std::string& name : linears) {
      const auto own = layer_recipe(recipe, name);
      const bool said = is_overridden(recipe, name, "bits") && own->bits == grid.first &&
                        own->granularity->name() == grid.second;
      if (!said) unsaid.insert(name);
    }
    for (const std::string& pattern : patterns_of(unsaid, decoder))
      recipe.overrides.push_back(concat(pattern, " bits=", grid.first, " granularity=", grid.second));
  }
}

}  // namespace

void fit_bits(Recipe& recipe, model::Decoder& decoder, const PackedDataset& text,
              ProgressReporter& progress) {
  const Target& target = find_target(recipe.target);
  const std::vector<Item> items = items_of(target, recipe, decoder);
  const std::int64_t budget = budget_of(items, target, recipe.target_bpw);
  const auto chosen = choose(items, budget, recipe, decoder, text, progress);
  Layers layers;
  for (std::size_t i = 0; i < items.size(); ++i) {
    const Candidate& candidate = items[i].candidates[chosen[i]];
    layers.insert(layers.end(), candidate.layers.begin(), candidate.layers.end());
  }
  write(layers, decoder, recipe);
  for (const std::string& line : bit_table(target, layers).lines(target.name)) progress.message(line);
}

}  // namespace lrqat::train
