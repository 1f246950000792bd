#include "lrqat/model/activations.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "lrqat/base/error.h"
#include "lrqat/base/user_text.h"

namespace lrqat::model {
namespace {

at::Tensor one_value(double value, at::Device device) {
  return at::full({1}, value, at::TensorOptions(at::kFloat).device(device));
}

StaticRange range_of(const quant::ActivationQuantizer& quantizer) {
  const quant::StaticQuantizer& range = quantizer.static_range();
  const double largest = std::pow(2.0, quantizer.num_bits()) - 1.0;
  const double zero = std::nearbyint(range.zero_float().item<double>());  // half to even, as the forward pass
  // As the forward pass takes it.
  const float scale = std::max(range.scale().item<float>(), ops::kSmallestActivationScale);
  return {quantizer.name(), scale, static_cast<int>(std::clamp(zero, 0.0, largest))};
}

StaticRange range_from_json(const std::string& point, const Json& json, const std::string& where) {
  const std::string inside = where + ": " + point;
  const StaticRange range{point, json_get<float>(json, "scale", inside),
                          json_get<int>(json, "zero_point", inside)};
  if (!(std::isfinite(range.scale) && range.scale > 0)) {
    fail(inside, ": scale ", range.scale, "; expected a number above 0");
  }
  return range;
}

}  // namespace

StoredActivations stored_activations(const Decoder& decoder) {
  StoredActivations stored{decoder.activations(), {}};
  if (stored.options.range == quant::ActivationRange::dynamic) return stored;
  for (const auto& quantizer : decoder.activation_quantizers()) stored.ranges.push_back(range_of(*quantizer));
  return stored;
}

void set_activations(Decoder& decoder, const StoredActivations& stored) {
  decoder.set_activations(stored.options);
  if (stored.options.range == quant::ActivationRange::dynamic) return;
  std::map<std::string, at::Tensor> tensors;
  for (const StaticRange& range : stored.ranges) {
    tensors.emplace(range.point + ".scale", one_value(range.scale, decoder.device()));
    tensors.emplace(range.point + ".zero_float", one_value(range.zero_point, decoder.device()));
  }
  take_ranges(decoder, tensors, "activations");
  if (!tensors.empty())
    fail("activations: \"", tensors.begin()->first, "\" belongs to no point of the model");
}

Json to_json(const StoredActivations& stored) {
  Json json{{"activation_bits", stored.options.activation_bits},
            {"kv_bits", stored.options.kv_bits},
            {"score_bits",
             stored.options.activation_bits < quant::kFloatBits ? quant::kScoreBits : quant::kFloatBits},
            {"range", quant::activation_range_name(stored.options.range)}};
  if (stored.options.down_bits != 0) json["down_bits"] = stored.options.down();
  if (stored.ranges.empty()) return json;
  json["points"] = Json::object();
  for (const StaticRange& range : stored.ranges) {
    json["points"][range.point] = {{"scale", range.scale}, {"zero_point", range.zero_point}};
  }
  return json;
}

StoredActivations activations_from_json(const Json& json, const std::string& where) {
  StoredActivations stored;
  stored.options.activation_bits = json_get<int>(json, "activation_bits", where);
  stored.options.kv_bits = json_get<int>(json, "kv_bits", where);
  const int down_bits = json_get_or<int>(json, "down_bits", stored.options.activation_bits, where);
  for (const int bits : {stored.options.activation_bits, stored.options.kv_bits, down_bits}) {
    if (bits != 4 && bits != 8 && bits != quant::kFloatBits)
      fail(where, ": ", bits, " bits; expected 4, 8 or 16");
  }
  if (json.contains("down_bits")) stored.options.down_bits = static_cast<std::int8_t>(down_bits);
  const auto range = json_get<std::string>(json, "range", where);
  if (range != "dynamic" && range != "static") {
    fail(where, ": range is \"", range, "\", expected dynamic or static");
  }
  stored.options.range = quant::parse_activation_range(range);
  if (stored.options.range == quant::ActivationRange::dynamic) return stored;
  const auto points = json_get<Json>(json, "points", where);
  if (!points.is_object()) fail(where, ": points is not an object of ranges by point");
  for (const auto& [point, values] : points.items()) {
    stored.ranges.push_back(range_from_json(point, values, where));
  }
  return stored;
}

void take_ranges(Decoder& decoder, std::map<std::string, at::Tensor>& tensors, const std::string& where) {
  if (decoder.activations().range == quant::ActivationRange::dynamic) return;
  const auto take = [&](const std::string& name) {
    const auto found = tensors.find(name);
    if (found == tensors.end()) fail(where, ": tensor ", quote(name), " is missing");
    at::Tensor value = found->second.to(decoder.device());
    tensors.erase(found);
    if (value.numel() != 1 || value.scalar_type() != at::kFloat) {
      fail(where, ": tensor ", quote(name), " is not one float32 value");
    }
    return value.view({1});
  };
  for (const auto& quantizer : decoder.activation_quantizers()) {
    at::Tensor scale = take(quantizer->name() + ".scale"), zero = take(quantizer->name() + ".zero_float");
    quantizer->set_range(std::move(scale), std::move(zero));
    if (decoder.activations().learn_range) quantizer->learn();
  }
}

}  // namespace lrqat::model
