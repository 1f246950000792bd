#include "lrqat/train/scale_range.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "lrqat/base/error.h"
#include "lrqat/quant/scale_parameter.h"
#include "lrqat/start/scale_range.h"
#include "lrqat/train/layer_recipe.h"

namespace lrqat::train {
namespace {

constexpr float kLargestFloat16 = 65504.0F;

// What helps where scales are at an end of their type.
std::string advice(const quant::ScaleOptions& options, bool small) {
  const bool linear = options.domain == quant::ScaleDomain::linear;
  return concat(". Try a smaller `scale-lr`", linear ? ", `scale-domain` log" : "",
                options.type == quant::ScaleType::float16
                    ? small ? ", or `scale-type` float32" : ", or `scale-type` bfloat16 or float32"
                    : "");
}

}  // namespace

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
      const float least =
          1.01F * start::smallest_scale(options);  // rounded to its type it may be a little more
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
      if (static_cast<double>(count - known) <= start::kMostDead * static_cast<double>(now.all)) return;
      known = now.all;  // said once
      lines.push_back(
          concat(layer, ": training has driven ", count, " of ", now.all, " scales to the ",
                 small ? "smallest" : "largest", " that `scale-type` ", quant::scale_type_name(options.type),
                 " with `scale-domain` ", quant::scale_domain_name(options.domain), " holds",
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
