#include "lrqat/model/load_packed.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <unordered_map>

#include "lrqat/base/error.h"
#include "lrqat/base/user_text.h"
#include "lrqat/formats/fused_projections.h"
#include "lrqat/model/build.h"
#include "lrqat/model/folder_tensors.h"
#include "lrqat/model/packed_config.h"
#include "lrqat/quant/float_weight.h"
#include "lrqat/quant/integer_weight.h"

namespace lrqat::model {
namespace {

namespace fs = std::filesystem;

class PackedReader {
 public:
  PackedReader(const fs::path& folder, const formats::ModelConfig& config, bool has_other_parts,
               PackedConfig packed, at::Device device)
      : config_(config),
        tensors_(folder, config, has_other_parts, device),
        packed_(std::move(packed)),
        layout_(packed_layout(packed_.layout)),
        device_(device) {
    for (const auto& tensor : formats::expected_file_tensors(config)) {
      shapes_.emplace(tensor.name, tensor.shape);
    }
    check_names();
  }

  std::shared_ptr<quant::WeightParametrization> weight(const std::string& module) const {
    const auto part = formats::fused_part(config_, module);
    const std::string stored = part ? part->fused : module;
    const std::vector<std::int64_t>& shape = shapes_.at(stored + ".weight");
    if (!tensors_.has(stored + layout_.marker)) {
      const auto whole = tensors_.float_weight(stored + ".weight", shape);
      return part ? rows_of(*whole, *part) : whole;
    }
    quant::QuantizedWeight weight = unpack(stored, shape);
    if (part) narrow(weight, *part);
    weight.weight_int = weight.weight_int.to(device_);
    weight.scale = weight.scale.to(device_);
    if (weight.zero_point.defined()) weight.zero_point = weight.zero_point.to(device_);
    auto result = std::make_shared<quant::IntegerWeight>(module, weight);
    tensors_.release(stored + layout_.marker);
    return result;
  }

  at::Tensor vector(const std::string& name) const { return tensors_.vector(name, shapes_.at(name)); }

 private:
  static std::shared_ptr<quant::WeightParametrization> rows_of(const quant::WeightParametrization& whole,
                                                               const formats::FusedPart& part) {
    return std::make_shared<quant::FloatWeight>(whole.float_storage().narrow(0, part.row_begin, part.rows));
  }

  static void narrow(quant::QuantizedWeight& weight, const formats::FusedPart& part) {
    for (at::Tensor* tensor : {&weight.weight_int, &weight.scale, &weight.zero_point}) {
      if (tensor->defined()) *tensor = tensor->narrow(0, part.row_begin, part.rows).contiguous();
    }
  }

  quant::QuantizedWeight unpack(const std::string& module, const std::vector<std::int64_t>& shape) const {
    const PackedScheme& scheme = packed_.scheme_of(module, tensors_.where());
    const TensorLookup lookup{[&](const std::string& suffix) { return tensors_.has(module + suffix); },
                              [&](const std::string& suffix, const std::vector<std::int64_t>& expected,
                                  const std::vector<formats::DType>& allowed) {
                                const bool floats = formats::is_readable_float(allowed.front());
                                return floats ? tensors_.finite(module + suffix, expected, allowed)
                                              : tensors_.mapped(module + suffix, expected, allowed);
                              }};
    try {
      return from_unsigned(layout_.unpack(lookup, scheme, shape[0], shape[1]));
    } catch (const Error& error) {
      fail(tensors_.where(), ": ", module, ": ", error.what());
    }
  }

  // Biases that GPTQ's writers add to every linear: nothing where they are zero.
  bool is_zero_bias(const std::string& name) const {
    if (!name.ends_with(".bias")) return false;
    const auto weight = shapes_.find(name.substr(0, name.size() - 5) + ".weight");
    return weight != shapes_.end() && tensors_.vector(name, {weight->second[0]}).eq(0).all().item<bool>();
  }

  // Buffers of old writers that say nothing which config.json does not.
  static bool is_buffer(const std::string& name) { return name.ends_with(".rotary_emb.inv_freq"); }

  void check_names() const {
    for (const std::string& name : tensors_.names()) {
      if (shapes_.contains(name) || is_packed_tensor(name) || is_buffer(name) || is_zero_bias(name)) continue;
      fail(tensors_.where(), ": tensor ", quote(name), " has no place in a ", layout_.name,
           " model of this config");
    }
  }

  bool is_packed_tensor(const std::string& name) const {
    return std::any_of(layout_.suffixes.begin(), layout_.suffixes.end(), [&](const std::string& suffix) {
      return name.ends_with(suffix) &&
             shapes_.contains(name.substr(0, name.size() - suffix.size()) + ".weight");
    });
  }

  formats::ModelConfig config_;
  FolderTensors tensors_;
  PackedConfig packed_;
  const PackedLayout& layout_;
  at::Device device_;
  std::unordered_map<std::string, std::vector<std::int64_t>> shapes_;
};

}  // namespace

std::unique_ptr<Decoder> load_packed(const fs::path& folder, const LoadOptions& options) {
  const std::string where = (folder / "config.json").string();
  const formats::FolderConfig found = formats::read_folder_config(folder);
  const formats::ModelConfig config = formats::config_from_json(found.json, where);
  auto packed = packed_config_from_json(found.json, where);
  LRQAT_CHECK(packed.has_value(), where);
  const PackedReader reader(folder, config, found.has_other_parts, std::move(*packed), options.device);
  return build_decoder(config,
                       {[&](const std::string& module) { return reader.weight(module); },
                        [&](const std::string& tensor) { return reader.vector(tensor); }},
                       options.compute);
}

}  // namespace lrqat::model
