#include "lrqat/train/scale_range.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "lrqat/base/error.h"
#include "lrqat/quant/scale_parameter.h"
#include "lrqat/train/layer_recipe.h"

namespace lrqat::train {
namespace {

constexpr double kMostDead = 0.01;  // of a layer's scales

constexpr float kLargestFloat16 = 65504.0F;

// What no scale is below, whatever its parameter says (quant/scale_parameter.h); 0: nothing holds it.
float smallest_scale(const quant::ScaleOptions& options) {
  return std::max(options.type == quant::ScaleType::float16 ? 0x1p-24F : 0.0F,
                  options.domain == quant::ScaleDomain::linear ? options.floor : 0.0F);
}

// What helps where scales are at an end of their type.
std::string advice(const quant::ScaleOptions& options, bool small) {
  const bool linear = options.domain == quant::ScaleDomain::linear;
  return concat(". Try a smaller --scale-lr", linear ? ", --scale-domain log" : "",
                options.type == quant::ScaleType::float16
                    ? small ? ", or --scale-type float32" : ", or --scale-type bfloat16 or float32"
                    : "");
}

}  // namespace

void check_scale_range(const Recipe& recipe, const std::string& layer, const at::Tensor& weight) {
  constexpr float kSteps = 4.0F;  // from the smallest number on, that a scale must be to be near its value
  constexpr float kSmallestRange = 1e-8F;  // of the range estimators
  const quant::ScaleOptions options = recipe.scale_options();
  const auto codes = static_cast<float>(1 << (recipe.bits - 1));
  const float floor = smallest_scale(options);
  const auto shape = recipe.grid_granularity().scale_shape(weight.size(0), weight.size(1));
  const at::Tensor largest = weight.abs().reshape({shape[0], shape[1], -1}).amax(2);
  const at::Tensor small =
      largest.lt(std::max(kSteps * floor * codes, kSmallestRange)).logical_and(largest.gt(0));
  const auto count = small.sum().item<std::int64_t>(), all = largest.gt(0).sum().item<std::int64_t>();
  if (static_cast<double>(count) <= kMostDead * static_cast<double>(all)) return;
  const float smallest = largest.masked_select(small).min().item<float>() / codes;
  const std::string found = concat(layer, ": ", count, " of ", all, " scales would be down to ", smallest);
  const char* rescale = "multiply this layer's weights, and divide what feeds them, in the float model";
  if (smallest * codes < kSmallestRange) {
    fail(found, ", of weights below ", kSmallestRange, ", which cannot be quantized: ", rescale);
  }
  fail(found, ", but with --scale-type ", quant::scale_type_name(options.type), " and --scale-domain ",
       quant::scale_domain_name(options.domain), " none is below ", floor,
       ", so that this layer would become almost zero: use --scale-type float32 --scale-domain log, or, for "
       "GGUF, GPTQ and AWQ, which hold float16 scales alone, ",
       rescale);
}

ScaleWatch::ScaleWatch(const Recipe& recipe, const model::Decoder& student)
    : recipe_(recipe), start_(look(student)) {}

std::map<std::string, ScaleWatch::AtEnds> ScaleWatch::look(const model::Decoder& student) const {
  const at::NoGradGuard no_grad;
  std::map<std::string, AtEnds> found;
  for (const nn::Linear* linear : student.linears()) {
    const auto own = layer_recipe(recipe_, linear->name());
    if (!own) continue;
    quant::ScaleOptions options = own->scale_options();
    options.learn = false;
    for (const quant::Parameter& parameter : linear->weight()->parameters()) {
      if (parameter.name != "scale") continue;
      const auto scale = quant::ScaleParameter::from_value(parameter.value.detach(), options);
      const at::Tensor now = scale.effective();
      const float least = 1.01F * smallest_scale(options);  // rounded to its type it may be a little more
      const bool half = options.type == quant::ScaleType::float16;
      found[linear->name()] = {now.numel(), now.le(least).sum().item<std::int64_t>(),
                               half ? now.ge(kLargestFloat16).sum().item<std::int64_t>() : 0};
    }
  }
  return found;
}

std::vector<std::string> ScaleWatch::news(const model::Decoder& student) {
  constexpr std::size_t kMost = 4;
  std::vector<std::string> lines;
  const quant::ScaleOptions options = recipe_.scale_options();
  for (const auto& [layer, now] : look(student)) {
    AtEnds& before = start_[layer];
    const auto check = [&](std::int64_t count, std::int64_t& known, bool small) {
      if (static_cast<double>(count - known) <= kMostDead * static_cast<double>(now.all)) return;
      known = now.all;  // said once
      lines.push_back(
          concat(layer, ": training has driven ", count, " of ", now.all, " scales to the ",
                 small ? "smallest" : "largest", " that --scale-type ", quant::scale_type_name(options.type),
                 " with --scale-domain ", quant::scale_domain_name(options.domain), " holds",
                 small ? ", so that this layer is becoming almost zero" : "", advice(options, small)));
    };
    check(now.smallest, before.smallest, true);
    check(now.largest, before.largest, false);
  }
  if (lines.size() > kMost) {
    const std::string rest = concat("so it is in ", lines.size() - kMost + 1, " more linears");
    lines.resize(kMost - 1);
    lines.push_back(rest);
  }
  return lines;
}

}  // namespace lrqat::train
