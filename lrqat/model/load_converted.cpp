#include <ATen/ATen.h>

#include <unordered_map>

#include "lrqat/base/error.h"
#include "lrqat/formats/safetensors.h"
#include "lrqat/model/build.h"
#include "lrqat/model/converted_format.h"
#include "lrqat/quant/float_weight.h"
#include "lrqat/quant/integer_weight.h"

namespace lrqat::model {
namespace {

namespace fs = std::filesystem;
using formats::DType;

at::ScalarType scalar_type(const formats::TensorView& view, const std::string& where) {
  switch (view.dtype) {
    case DType::F32:
      return at::kFloat;
    case DType::F16:
      return at::kHalf;
    case DType::BF16:
      return at::kBFloat16;
    case DType::F64:
      return at::kDouble;
    case DType::I8:
      return at::kChar;
    case DType::U8:
      return at::kByte;
    default:
      fail(where, ": tensor \"", view.name, "\" is of type ", formats::dtype_name(view.dtype),
           ", which a converted folder does not hold");
  }
}

class ConvertedReader {
 public:
  ConvertedReader(const fs::path& folder, const formats::ModelConfig& config,
                  const QuantizationConfig& layers, at::Device device)
      : tensors_(std::make_shared<formats::ShardedSafetensors>(folder)), device_(device) {
    for (const auto& tensor : formats::expected_tensors(config)) shapes_.emplace(tensor.name, tensor.shape);
    for (const auto& layer : layers.converted.layers) add_layer(layer);
    for (const auto& layer : layers.blocks) add_layer(layer);
  }

  std::shared_ptr<quant::WeightParametrization> weight(const std::string& module) const {
    const std::vector<std::int64_t>& shape = shapes_.at(module + ".weight");
    const auto it = layers_.find(module);
    if (it == layers_.end()) return float_weight(module + ".weight", shape);
    const ConvertedLayer& layer = it->second;
    StoredIntegers stored;
    stored.packed = is_packed(layer.grid);
    const std::int64_t bytes = stored.packed ? (shape[1] + 1) / 2 : shape[1];
    stored.integers = mapped(module + integer_suffix(stored.packed), {shape[0], bytes},
                             {stored.packed ? DType::U8 : DType::I8});
    const auto scale_shape = layer.granularity.scale_shape(shape[0], shape[1]);
    layer.granularity.check(module, shape[1]);
    stored.scale =
        mapped(module + ".weight_scale", {scale_shape[0], scale_shape[1]}, {DType::F16, DType::F32});
    quant::QuantizedWeight quantized = from_stored(stored, layer, shape[1]);
    quantized.weight_int = quantized.weight_int.to(device_);
    quantized.scale = quantized.scale.to(device_);
    auto result = std::make_shared<quant::IntegerWeight>(module, quantized);
    tensors_->release(module + integer_suffix(stored.packed));
    return result;
  }

  at::Tensor vector(const std::string& name) const {
    return mapped(name, shapes_.at(name), {DType::F32, DType::F16, DType::BF16, DType::F64})
        .to(device_, at::kFloat, false, true);
  }

 private:
  void add_layer(const ConvertedLayer& layer) {
    if (!shapes_.contains(layer.name + ".weight")) {
      fail(tensors_->path().string(), ": quantization_config names the layer \"", layer.name,
           "\", which a model of this config does not have");
    }
    layers_.emplace(layer.name, layer);
  }

  std::shared_ptr<quant::WeightParametrization> float_weight(const std::string& name,
                                                             const std::vector<std::int64_t>& shape) const {
    at::Tensor tensor = mapped(name, shape, {DType::F32, DType::F16, DType::BF16, DType::F64});
    if (tensor.scalar_type() == at::kDouble) tensor = tensor.to(at::kFloat);
    return std::make_shared<quant::FloatWeight>(tensor.to(device_));
  }

  // The tensor on the map, or a copy of it where it is not aligned for its type.
  at::Tensor mapped(const std::string& name, const std::vector<std::int64_t>& shape,
                    const std::vector<DType>& allowed) const {
    const formats::TensorView& view = tensors_->at(name);
    const std::string where = tensors_->path().string();
    const at::ScalarType type = scalar_type(view, where);
    if (std::count(allowed.begin(), allowed.end(), view.dtype) == 0) {
      fail(where, ": tensor \"", name, "\" is of type ", formats::dtype_name(view.dtype), ", expected ",
           formats::dtype_name(allowed.front()));
    }
    if (view.shape != shape) {
      fail(where, ": tensor \"", name, "\" has shape ", formats::shape_to_string(view.shape), ", expected ",
           formats::shape_to_string(shape));
    }
    auto* data = const_cast<std::byte*>(view.data.data());
    if (reinterpret_cast<std::uintptr_t>(data) % at::elementSize(type) == 0) {
      return at::from_blob(
          data, shape, [keep = tensors_](void*) {}, at::TensorOptions(type));
    }
    at::Tensor copy = at::empty(shape, type);
    std::copy(view.data.begin(), view.data.end(), static_cast<std::byte*>(copy.mutable_data_ptr()));
    return copy;
  }

  std::shared_ptr<formats::ShardedSafetensors> tensors_;
  at::Device device_;
  std::unordered_map<std::string, std::vector<std::int64_t>> shapes_;
  std::unordered_map<std::string, ConvertedLayer> layers_;
};

}  // namespace

bool is_converted_folder(const fs::path& path) {
  const fs::path config = path / "config.json";
  if (!fs::is_regular_file(config)) return false;
  const Json json = read_json_file(config);
  const auto it = json.find("quantization_config");
  return it != json.end() && it->is_object() && it->value("quant_method", Json()) == kQuantMethod;
}

std::unique_ptr<Decoder> load_converted(const fs::path& folder, const LoadOptions& options) {
  const std::string where = (folder / "config.json").string();
  const Json json = read_json_file(folder / "config.json");
  const formats::ModelConfig config = formats::config_from_json(json, where);
  const QuantizationConfig layers =
      quantization_config_from_json(json_get<Json>(json, "quantization_config", where), where);
  const ConvertedReader reader(folder, config, layers, options.device);
  return build_decoder(config,
                       {[&](const std::string& module) { return reader.weight(module); },
                        [&](const std::string& tensor) { return reader.vector(tensor); }},
                       options.compute);
}

}  // namespace lrqat::model
