#include "lrqat/model/converted_format.h"

#include <ATen/ATen.h>

#include "lrqat/base/error.h"
#include "lrqat/base/user_text.h"
#include "lrqat/quant/packed_codes.h"

namespace lrqat::model {
namespace {

std::string kind_name(const quant::Granularity& granularity) {
  return granularity.kind == quant::Granularity::Kind::group ? "group" : granularity.name();
}

// The value that all layers share, or nothing.
template <typename Get>
void add_if_uniform(Json& json, const char* key, const std::vector<ConvertedLayer>& layers, const Get& get) {
  for (const ConvertedLayer& layer : layers) {
    if (get(layer) != get(layers.front())) return;
  }
  if (!layers.empty()) json[key] = get(layers.front());
}

Json list_to_json(const std::vector<ConvertedLayer>& layers) {
  Json list = Json::array();
  for (const ConvertedLayer& layer : layers) list.push_back(to_json(layer));
  return list;
}

ConvertedLayer layer_from_json(const Json& json, const std::string& where) {
  ConvertedLayer layer;
  layer.name = json_get<std::string>(json, "name", where);
  const std::string inside = where + ": " + layer.name;
  // Widths that are not trained come from other programs' files (compressed-tensors has 2 to 8 bits).
  const int bits = json_get<int>(json, "num_bits", inside);
  if (bits < 2 || bits > 8) fail(inside, ": num_bits is ", bits, ", expected 2 to 8");
  layer.grid = {bits, -(1 << (bits - 1)), (1 << (bits - 1)) - 1};
  auto kind = json_get<std::string>(json, "granularity", inside);
  if (kind == "group") kind += concat(":", json_get<std::int64_t>(json, "group_size", inside));
  layer.granularity = quant::Granularity::parse(kind);
  layer.clipped_fraction = json_get_or<double>(json, "clipped_fraction", 0.0, inside);
  layer.has_zero_point = json_get_or<bool>(json, "zero_point", false, inside);
  layer.has_offset = json_get_or<bool>(json, "offset", false, inside);
  return layer;
}

std::vector<ConvertedLayer> list_from_json(const Json& json, const char* key, const std::string& where) {
  std::vector<ConvertedLayer> layers;
  for (const Json& entry : json_get<std::vector<Json>>(json, key, where)) {
    layers.push_back(layer_from_json(entry, where));
  }
  return layers;
}

int version_of(const QuantizationConfig& config) {
  if (config.rotations.any() || config.activations.options.down_bits != 0) return kRotationsVersion;
  return config.activations.options.any() ? kActivationsVersion : kConvertedVersion;
}

Rotations rotations_from_json(const Json& json, const std::string& where) {
  const auto text = json_get<std::string>(json, "rotations", where);
  for (const Rotations& known :
       {Rotations{.r3 = true}, Rotations{.r4 = true}, Rotations{.r3 = true, .r4 = true}}) {
    if (text == rotations_name(known)) return known;
  }
  fail(where, ": rotations is ", quote(text), ", expected r3, r4 or r3,r4");
}

}  // namespace

Json to_json(const ConvertedLayer& layer) {
  Json json{{"name", layer.name},
            {"num_bits", layer.grid.num_bits},
            {"granularity", kind_name(layer.granularity)},
            {"group_size", layer.granularity.group_size},
            {"clipped_fraction", layer.clipped_fraction}};
  if (layer.has_zero_point) json["zero_point"] = true;
  if (layer.has_offset) json["offset"] = true;
  return json;
}

std::string integer_suffix(bool packed) { return packed ? ".weight_packed" : ".weight_int"; }

formats::DType dtype_of(at::ScalarType type) {
  switch (type) {
    case at::kFloat:
      return formats::DType::F32;
    case at::kHalf:
      return formats::DType::F16;
    case at::kBFloat16:
      return formats::DType::BF16;
    case at::kChar:
      return formats::DType::I8;
    case at::kByte:
      return formats::DType::U8;
    case at::kInt:
      return formats::DType::I32;
    case at::kLong:
      return formats::DType::I64;
    default:
      internal_error(__FILE__, __LINE__, "tensor type", at::toString(type));
  }
}

StoredIntegers to_stored(const quant::QuantizedWeight& weight) {
  StoredIntegers stored;
  stored.packed = quant::is_packed(weight.grid);
  stored.integers = quant::pack_codes(weight.weight_int.cpu().contiguous(), weight.grid);
  const at::Tensor scale = weight.scale.cpu().contiguous(), half = scale.to(at::kHalf);
  stored.scale = at::equal(half.to(at::kFloat), scale) ? half : scale;
  if (weight.zero_point.defined()) stored.zero_point = weight.zero_point.to(at::kChar).cpu().contiguous();
  if (weight.offset.defined()) stored.offset = weight.offset.cpu().contiguous();
  return stored;
}

quant::QuantizedWeight from_stored(const StoredIntegers& stored, const ConvertedLayer& layer,
                                   std::int64_t in_features) {
  const at::Tensor codes = quant::unpack_codes(stored.integers, in_features, layer.grid);
  return {layer.grid,        layer.granularity, codes, stored.scale.to(at::kFloat), layer.clipped_fraction,
          stored.zero_point, stored.offset};
}

Json to_json(const QuantizationConfig& config) {
  Json json{{"quant_method", kQuantMethod},
            {"version", version_of(config)},
            {"layers", list_to_json(config.converted.layers)},
            {"blocks", list_to_json(config.blocks)},
            {"sha256", config.converted.sha256}};
  const auto& layers = config.converted.layers;
  add_if_uniform(json, "num_bits", layers, [](const ConvertedLayer& layer) { return layer.grid.num_bits; });
  add_if_uniform(json, "granularity", layers, [](const auto& layer) { return layer.granularity.name(); });
  if (config.activations.options.any()) json["activations"] = to_json(config.activations);
  if (config.rotations.any()) json["rotations"] = rotations_name(config.rotations);
  return json;
}

QuantizationConfig quantization_config_from_json(const Json& json, const std::string& where) {
  const auto method = json_get<std::string>(json, "quant_method", where);
  if (method != kQuantMethod) fail(where, ": quant_method is \"", method, "\", expected \"lrqat\"");
  const int version = json_get<int>(json, "version", where);
  if (version < kConvertedVersion || version > kRotationsVersion) {
    fail(where, ": version ", version, " of the converted format; this program reads versions ",
         kConvertedVersion, " to ", kRotationsVersion);
  }
  QuantizationConfig config;
  config.converted.layers = list_from_json(json, "layers", where);
  config.converted.sha256 = json_get<std::string>(json, "sha256", where);
  config.blocks = list_from_json(json, "blocks", where);
  if (version == kActivationsVersion || json.contains("activations")) {
    config.activations =
        activations_from_json(json_get<Json>(json, "activations", where), where + ": activations");
  }
  if (json.contains("rotations")) config.rotations = rotations_from_json(json, where);
  return config;
}

}  // namespace lrqat::model
