#include <ATen/ATen.h>

#include <unordered_map>
#include <unordered_set>

#include "lrqat/base/error.h"
#include "lrqat/base/user_text.h"
#include "lrqat/model/build.h"
#include "lrqat/model/converted_format.h"
#include "lrqat/model/folder_tensors.h"
#include "lrqat/quant/integer_weight.h"
#include "lrqat/quant/packed_codes.h"

namespace lrqat::model {
namespace {

namespace fs = std::filesystem;
using formats::DType;

class ConvertedReader {
 public:
  ConvertedReader(const fs::path& folder, const formats::ModelConfig& config,
                  const QuantizationConfig& layers, at::Device device)
      : tensors_(folder, config, /*has_other_parts=*/false, device), device_(device) {
    for (const auto& tensor : formats::expected_tensors(config)) shapes_.emplace(tensor.name, tensor.shape);
    for (const auto& layer : layers.converted.layers) add_layer(layer);
    for (const auto& layer : layers.blocks) add_layer(layer);
    check_names();
  }

  std::shared_ptr<quant::WeightParametrization> weight(const std::string& module) const {
    const std::vector<std::int64_t>& shape = shapes_.at(module + ".weight");
    const auto it = layers_.find(module);
    if (it == layers_.end()) return tensors_.float_weight(module + ".weight", shape);
    const ConvertedLayer& layer = it->second;
    StoredIntegers stored;
    stored.packed = quant::is_packed(layer.grid);
    const std::int64_t bytes = stored.packed ? (shape[1] + 1) / 2 : shape[1];
    stored.integers = tensors_.mapped(module + integer_suffix(stored.packed), {shape[0], bytes},
                                      {stored.packed ? DType::U8 : DType::I8});
    layer.granularity.check(module, shape[1]);
    const auto scale_shape = layer.granularity.scale_shape(shape[0], shape[1]);
    stored.scale =
        tensors_.finite(module + ".weight_scale", {scale_shape[0], scale_shape[1]}, {DType::F16, DType::F32});
    read_shift(module, layer, stored);
    quant::QuantizedWeight quantized = from_stored(stored, layer, shape[1]);
    quantized.weight_int = quantized.weight_int.to(device_);
    quantized.scale = quantized.scale.to(device_);
    if (layer.has_zero_point) quantized.zero_point = quantized.zero_point.to(device_);
    if (layer.has_offset) quantized.offset = quantized.offset.to(device_);
    auto result = std::make_shared<quant::IntegerWeight>(module, quantized);
    tensors_.release(module + integer_suffix(stored.packed));
    return result;
  }

  at::Tensor vector(const std::string& name) const { return tensors_.vector(name, shapes_.at(name)); }

 private:
  void add_layer(const ConvertedLayer& layer) {
    const auto shape = shapes_.find(layer.name + ".weight");
    if (shape == shapes_.end() || shape->second.size() != 2) {
      fail(tensors_.where(), ": quantization_config names the layer \"", layer.name,
           "\", which is no matrix of a model of this config");
    }
    if (!layers_.emplace(layer.name, layer).second) {
      fail(tensors_.where(), ": quantization_config names the layer \"", layer.name, "\" twice");
    }
  }

  // Where the grid lies, of a layer whose grid does not lie around zero.
  void read_shift(const std::string& module, const ConvertedLayer& layer, StoredIntegers& stored) const {
    const std::vector<std::int64_t> shape = stored.scale.sizes().vec();
    if (layer.has_zero_point)
      stored.zero_point = tensors_.mapped(module + ".weight_zero_point", shape, {DType::I8});
    if (layer.has_offset) stored.offset = tensors_.finite(module + ".weight_offset", shape, {DType::F32});
  }

  // A tensor that nothing reads belongs to another config: half of a mixed-up folder.
  void check_names() const {
    std::unordered_set<std::string> known;
    for (const auto& [name, shape] : shapes_) {
      const std::string module = name.substr(0, name.rfind('.'));
      const auto layer = name.ends_with(".weight") ? layers_.find(module) : layers_.end();
      if (layer == layers_.end()) {
        known.insert(name);
      } else {
        known.insert(module + integer_suffix(quant::is_packed(layer->second.grid)));
        known.insert(module + ".weight_scale");
        if (layer->second.has_zero_point) known.insert(module + ".weight_zero_point");
        if (layer->second.has_offset) known.insert(module + ".weight_offset");
      }
    }
    for (const std::string& name : tensors_.names()) {
      if (known.contains(name)) continue;
      fail(tensors_.where(), ": tensor ", quote(name),
           " has no place in a model of this config and quantization_config");
    }
  }

  FolderTensors tensors_;
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

QuantizationConfig read_quantization_config(const fs::path& folder) {
  const std::string where = (folder / "config.json").string();
  const Json json = read_json_file(folder / "config.json");
  return quantization_config_from_json(json_get<Json>(json, "quantization_config", where), where);
}

std::unique_ptr<Decoder> load_converted(const fs::path& folder, const LoadOptions& options) {
  formats::ModelConfig config =
      formats::config_from_json(read_json_file(folder / "config.json"), (folder / "config.json").string());
  const QuantizationConfig quantization = read_quantization_config(folder);
  set_online_rotations(config, quantization.rotations);
  const ConvertedReader reader(folder, config, quantization, options.device);
  auto decoder = build_decoder(config,
                               {[&](const std::string& module) { return reader.weight(module); },
                                [&](const std::string& tensor) { return reader.vector(tensor); }},
                               options.compute);
  set_activations(*decoder, quantization.activations);
  return decoder;
}

void check_converted(const fs::path& folder, const Decoder& decoder) {
  const ConvertedSummary stored = read_quantization_config(folder).converted;
  const std::string found = checksum(decoder, stored.layers);
  if (found == stored.sha256) return;
  fail(folder.string(), ": integers and scales have sha256 ", found, ", but config.json says ", stored.sha256,
       ": the folder was changed or is damaged; make it again with lrqat convert");
}

}  // namespace lrqat::model
