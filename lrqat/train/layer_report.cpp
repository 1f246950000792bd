#include "lrqat/train/layer_report.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <optional>

#include "lrqat/quant/tile_math.h"
#include "lrqat/train/layer_recipe.h"
#include "lrqat/train/methods.h"

namespace lrqat::train {
namespace {

struct Update {
  double mean = 0.0, max = 0.0;
};

// |γ·A·B|, divided by `scale` (shaped like scales) where that is defined.
std::optional<Update> update_of(const quant::WeightParametrization& weight, const Recipe& recipe,
                                const at::Tensor& scale) {
  at::Tensor lora_a, lora_b;
  for (const quant::Parameter& parameter : weight.parameters()) {
    if (parameter.name == "lora_a") lora_a = parameter.value;
    if (parameter.name == "lora_b") lora_b = parameter.value;
  }
  if (!lora_a.defined() || !lora_b.defined()) return std::nullopt;
  const double scaling = methods::lora_scaling(recipe.alpha(), recipe.rank);
  Update update;
  quant::for_each_tile(weight.out_features(), weight.in_features(),
                       [&](std::int64_t begin, std::int64_t end) {
                         at::Tensor moved = at::mm(lora_a.slice(0, begin, end), lora_b).mul_(scaling).abs_();
                         if (scale.defined())
                           quant::grouped(moved, scale).div_(quant::rows_of(scale, begin, end));
                         update.mean += moved.sum(at::kDouble).item<double>();
                         update.max = std::max(update.max, moved.max().item<double>());
                       });
  update.mean /= static_cast<double>(weight.out_features() * weight.in_features());
  return update;
}

}  // namespace

LayerReport report_layers(const Recipe& recipe, const model::Decoder& student) {
  const at::NoGradGuard no_grad;
  const methods::Method& method = method_of(recipe);
  LayerReport report;
  for (const nn::Linear* linear : student.linears()) {
    const quant::WeightParametrization& weight = *linear->weight();
    const auto own = layer_recipe(recipe, linear->name());
    if (!own || !weight.is_quantized()) continue;
    const quant::QuantizedWeight now = weight.convert();
    std::map<std::string, double> values{{"scale_mean", now.scale.mean().item<double>()},
                                         {"clipped_fraction", now.clipped_fraction}};
    for (const auto& [name, buffer] : weight.buffers()) {
      if (name == "clipped_at_start") values[name] = buffer.item<double>();
    }
    if (const auto update = update_of(weight, *own, method.adapters_in_steps ? at::Tensor() : now.scale)) {
      values["update_mean"] = update->mean;
      values["update_max"] = update->max;
    }
    report.emplace_back(linear->name(), std::move(values));
  }
  return report;
}

}  // namespace lrqat::train
