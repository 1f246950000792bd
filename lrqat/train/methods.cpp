#include "lrqat/train/methods.h"

#include <ATen/ATen.h>

#include "lrqat/base/error.h"
#include "lrqat/base/user_text.h"
#include "lrqat/model/prepare.h"
#include "lrqat/quant/on_grid.h"
#include "lrqat/train/layer_recipe.h"
#include "lrqat/train/scale_range.h"

namespace lrqat::train {
namespace {

using methods::LayerOptions;
using methods::WeightPtr;

// The stored integers on the recipe's grid, where --init asks for them and they lie on it.
std::optional<quant::QuantizedWeight> stored_start(const Recipe& own, const std::string& layer,
                                                   const quant::QuantizedWeight* stored) {
  if (own.init != "auto" && own.init != "stored") return std::nullopt;
  std::string obstacle = "it is float";
  std::optional<quant::QuantizedWeight> start;
  if (stored != nullptr) {
    const quant::QuantSpec spec = own.spec();
    start = quant::on_grid(*stored, spec.grid, spec.granularity, spec.symmetric, obstacle);
  }
  if (!start && own.init == "stored") {
    fail(layer, ": --init stored does not find its integers on the grid of --bits ", own.bits,
         " --granularity ", own.grid_granularity().name(), " --symmetric ", own.symmetric ? "true" : "false",
         ": ", obstacle, "; --init auto starts such linears from their values");
  }
  return start;
}

// With the stored scales and zero points in place of estimated ones, every method's own start has the stored
// codes: (s·k) / s rounds to k.
LayerOptions options_from(const quant::QuantizedWeight& start, const Recipe& own, const std::string& layer) {
  const quant::ScaleParameter scale(start.scale, own.scale_options());
  if (!at::equal(scale.effective(), start.scale)) {
    fail(layer, ": the model's scales are not kept by --scale-type ", quant::scale_type_name(own.scale_type),
         own.scale_domain == quant::ScaleDomain::log ? " and --scale-domain log" : "",
         ": use a --scale-type that holds them (float32 does), or --init range to find other scales");
  }
  return methods::on_scales_of(start, layer_options(own, layer));
}

// By the layer's own recipe; `start`: the stored integers that it starts from, where it does.
WeightPtr prepare_by(const Method& method, const Recipe& own, const std::string& layer,
                     const at::Tensor& weight, const std::optional<quant::QuantizedWeight>& start) {
  if (start) return method.prepare(layer, weight, options_from(*start, own, layer));
  if (method.has_grid) check_scale_range(own, layer, weight);
  const LayerOptions options = layer_options(own, layer);
  // The rounding that a run is compared with (quality.cpp) has no adapters to fill.
  const bool decomposes = own.init == "svd" && method.from_decomposition;
  return decomposes ? method.from_decomposition(layer, weight, options)
                    : method.prepare(layer, weight, options);
}

std::optional<quant::QuantizedWeight> start_of(const Method& method, const Recipe& own,
                                               const std::string& layer,
                                               const quant::QuantizedWeight* stored) {
  return method.has_grid ? stored_start(own, layer, stored) : std::nullopt;
}

}  // namespace

std::string parse_method(const std::string& name) { return find_method(name).name; }

Recipe method_defaults(const std::string& name) {
  const Method& method = find_method(name);
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

WeightPtr prepare_layer(const Method& method, const Recipe& recipe, const std::string& layer,
                        const at::Tensor& weight, const quant::QuantizedWeight* stored) {
  const std::optional<Recipe> own = layer_recipe(recipe, layer);
  return own ? prepare_by(method, *own, layer, weight, start_of(method, *own, layer, stored)) : nullptr;
}

WeightPtr prepare_layer(const Method& method, const Recipe& recipe, const nn::Linear& linear,
                        const at::Tensor& weight) {
  const auto stored = linear.weight()->stored_integers();
  return prepare_layer(method, recipe, linear.name(), weight, stored ? &*stored : nullptr);
}

bool starts_from_stored(const Method& method, const Recipe& recipe, const nn::Linear& linear) {
  const auto own = layer_recipe(recipe, linear.name());
  const auto stored = linear.weight()->stored_integers();
  return own && stored && start_of(method, *own, linear.name(), &*stored).has_value();
}

void prepare_linears(const Method& method, const Recipe& recipe, model::Decoder& decoder,
                     const formats::WeightSource& source, ProgressReporter& progress) {
  std::int64_t quantized = 0, taken = 0;
  model::prepare(
      decoder, source,
      [&](const std::string& name, const at::Tensor& weight) {
        const auto own = layer_recipe(recipe, name);
        if (!own) return WeightPtr();
        const auto stored = decoder.find_linear(name)->weight()->stored_integers();
        const auto start = start_of(method, *own, name, stored ? &*stored : nullptr);
        quantized += stored && method.has_grid ? 1 : 0;
        taken += start ? 1 : 0;
        return prepare_by(method, *own, name, weight, start);
      },
      progress);
  if (quantized == 0) return;
  progress.message(concat("of ", quantized, " quantized linears ", taken,
                          " start from their integers and scales, ", quantized - taken,
                          " from their values (other grid, or --init)"));
}

WeightPtr prepare_gptq(const Method& method, const Recipe& recipe, const std::string& layer,
                       const at::Tensor& weight, const quant::GptqFactor& factor) {
  check_init(method, "gptq");
  check_scale_range(recipe, layer, weight);
  const LayerOptions options = layer_options(recipe, layer);
  return method.from_integers(layer, quant::gptq(layer, weight, factor, options.spec, options.range),
                              options);
}

void check_init(const Method& method, const std::string& init) {
  const auto has = [&](const Method& one) {
    if (init == "gptq") return static_cast<bool>(one.from_integers);
    if (init == "svd") return static_cast<bool>(one.from_decomposition);
    return one.has_grid || init == "auto" || init == "range";
  };
  if (has(method)) return;
  std::string names;
  for (const Method* other : methods::all_methods()) {
    if (has(*other)) names += (names.empty() ? "" : ", ") + other->name;
  }
  throw UsageError(concat("--init ", init, ": --method ", method.name,
                          init == "svd"     ? " has no adapters that a decomposition could fill"
                          : method.has_grid ? " does not start so"
                                            : " does not start from integers",
                          "; ", names, " do"));
}

WeightPtr restore_layer(const Method& method, const Recipe& recipe, const SavedLayer& saved) {
  const std::optional<Recipe> own = layer_recipe(recipe, saved.name);
  return own ? method.restore(saved, layer_options(*own, saved.name)) : nullptr;
}

}  // namespace lrqat::train
