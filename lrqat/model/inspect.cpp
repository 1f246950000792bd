#include "lrqat/model/inspect.h"

#include <ATen/ATen.h>

#include <unordered_map>

#include "lrqat/base/error.h"
#include "lrqat/base/sha256.h"
#include "lrqat/formats/checkpoint.h"
#include "lrqat/formats/ggml_integers.h"
#include "lrqat/model/converted.h"
#include "lrqat/model/packed_config.h"
#include "lrqat/quant/packed_codes.h"

namespace lrqat::model {
namespace {

namespace fs = std::filesystem;

// Under the files' names, or those of a text model.
template <typename Tensors>
std::vector<InspectedTensor> rows_of_tensors(const Tensors& tensors) {
  std::vector<InspectedTensor> rows;
  for (const std::string& name : tensors.names()) {
    const formats::TensorView& view = tensors.at(name);
    rows.push_back({.name = name,
                    .dtype = std::string(formats::dtype_name(view.dtype)),
                    .shape = view.shape,
                    .bytes = view.data.size(),
                    .sha256 = sha256_hex(view.data)});
    tensors.release(name);
  }
  return rows;
}

// What a tensor of integer blocks has: bits, groups, and how often each number stands in it.
void describe_blocks(formats::GgmlType type, std::span<const std::byte> data, InspectedTensor& row) {
  const formats::IntegerBlockType* blocks = formats::find_integer_block_type(type);
  if (blocks == nullptr || row.shape.size() != 2 || data.empty()) return;
  row.num_bits = blocks->num_bits;
  row.granularity = {quant::Granularity::Kind::group, blocks->group_size};
  row.histogram.assign(std::size_t{1} << blocks->num_bits, 0);
  const auto cols = static_cast<std::size_t>(row.shape[1]),
             groups = cols / static_cast<std::size_t>(blocks->group_size);
  const std::size_t row_bytes = formats::ggml_row_bytes(type, row.shape[1]);
  std::vector<std::uint8_t> numbers(cols);
  std::vector<float> scales(groups), offsets(groups);
  for (std::size_t at = 0; at < data.size(); at += row_bytes) {
    formats::read_integers(*blocks, data.data() + at, numbers, scales, offsets);
    for (const std::uint8_t number : numbers) ++row.histogram[number];
  }
}

std::vector<InspectedTensor> rows_of(const formats::GgufFile& file) {
  std::vector<InspectedTensor> rows;
  for (const formats::GgufTensor& tensor : file.tensors()) {
    InspectedTensor& row =
        rows.emplace_back(InspectedTensor{.name = tensor.name,
                                          .dtype = std::string(formats::ggml_type_name(tensor.type)),
                                          .shape = tensor.shape,
                                          .bytes = tensor.data.size(),
                                          .sha256 = sha256_hex(tensor.data)});
    describe_blocks(tensor.type, tensor.data, row);
    file.release(tensor);
  }
  return rows;
}

std::span<const std::byte> bytes_of(const at::Tensor& tensor) {
  return {static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()};
}

std::vector<std::int64_t> histogram_of(const at::Tensor& codes, const quant::Grid& grid) {
  std::vector<std::int64_t> counts(static_cast<std::size_t>(grid.quant_max - grid.quant_min + 1));
  const std::int8_t* data = codes.const_data_ptr<std::int8_t>();
  for (std::int64_t i = 0; i < codes.numel(); ++i)
    ++counts[static_cast<std::size_t>(data[i] - grid.quant_min)];
  return counts;
}

// Codes (int8) and scales (float32), whatever file they lie in.
InspectedTensor integer_row(const std::string& name, const quant::QuantizedWeight& weight) {
  const at::Tensor codes = weight.weight_int.cpu().contiguous(), scale = weight.scale.cpu().contiguous();
  const bool packed = quant::is_packed(weight.grid);
  const bool half = at::equal(scale.to(at::kHalf).to(at::kFloat), scale);
  const std::int64_t row_bytes = packed ? (codes.size(1) + 1) / 2 : codes.size(1);
  std::int64_t bytes = codes.size(0) * row_bytes + scale.numel() * (half ? 2 : 4);
  Sha256 sha256;
  sha256.update(bytes_of(codes)).update(bytes_of(scale));
  for (const at::Tensor& shift : {weight.zero_point, weight.offset}) {
    if (!shift.defined()) continue;
    const at::Tensor plain = shift.cpu().contiguous();
    sha256.update(bytes_of(plain));
    bytes += static_cast<std::int64_t>(plain.nbytes());
  }
  return {.name = name,
          .dtype = packed ? "int4" : "int8",
          .shape = codes.sizes().vec(),
          .bytes = static_cast<std::size_t>(bytes),
          .sha256 = sha256.hex_digest(),
          .num_bits = weight.grid.num_bits,
          .granularity = weight.granularity,
          .histogram = histogram_of(codes, weight.grid),
          .clipped_fraction = weight.clipped_fraction};
}

std::unordered_map<std::string, const quant::WeightParametrization*> quantized_weights(
    const Decoder& decoder) {
  std::unordered_map<std::string, const quant::WeightParametrization*> weights;
  const auto add = [&](const std::string& module, const quant::WeightParametrization& weight) {
    if (weight.is_quantized()) weights.emplace(module + ".weight", &weight);
  };
  for (const nn::Linear* linear : decoder.linears()) add(linear->name(), *linear->weight());
  add("model.embed_tokens", *decoder.embedding().weight());
  add("lm_head", *decoder.lm_head().weight());
  return weights;
}

InspectedTensor float_row(const formats::WeightSource& source, const std::string& name) {
  const formats::SourceTensor raw = source.raw(name);
  InspectedTensor row{.name = name,
                      .dtype = source.dtype_name(name),
                      .shape = raw.shape,
                      .bytes = raw.data.size(),
                      .sha256 = sha256_hex(raw.data)};
  describe_blocks(raw.type, raw.data, row);
  source.release(name);
  return row;
}

// A norm, embedding or head that the run trained or rescaled.
InspectedTensor own_row(const std::string& name, const at::Tensor& value) {
  const at::Tensor plain = value.detach().cpu().contiguous();
  return {.name = name,
          .dtype = "F32",
          .shape = plain.sizes().vec(),
          .bytes = plain.nbytes(),
          .sha256 = sha256_hex(bytes_of(plain))};
}

}  // namespace

Inspection inspect(const OpenedModel& model) {
  const auto quantized = quantized_weights(*model.decoder);
  std::unordered_map<std::string, InspectedTensor> stored;
  if (model.source == nullptr) {
    if (model.kind == "converted") check_converted(model.path, *model.decoder);
    const bool has_other_parts = formats::read_folder_config(model.path).has_other_parts;
    const formats::CheckpointTensors tensors(model.path, model.decoder->config(), has_other_parts);
    for (InspectedTensor& row : rows_of_tensors(tensors)) stored.emplace(row.name, std::move(row));
  }
  Inspection result{model.kind, summarize(*model.decoder).sha256, {}, {}};
  result.activations = stored_activations(*model.decoder);
  for (const auto& tensor : formats::expected_tensors(model.decoder->config())) {
    if (const auto found = quantized.find(tensor.name); found != quantized.end()) {
      result.rows.push_back(integer_row(tensor.name, found->second->convert()));
    } else if (const auto own = model.decoder->replaced().find(tensor.name);
               own != model.decoder->replaced().end()) {
      result.rows.push_back(own_row(tensor.name, own->second));
    } else {
      result.rows.push_back(model.source != nullptr ? float_row(*model.source, tensor.name)
                                                    : stored.at(tensor.name));
    }
  }
  return result;
}

Inspection inspect(const fs::path& path) {
  if (!fs::exists(path)) fail(path.string(), ": there is no such file or folder");
  if (is_converted_folder(path)) return inspect(open_model(path));
  if (is_packed_folder(path)) {
    Inspection inspection = inspect(open_model(path));
    const fs::path config = path / "config.json";
    inspection.kind = packed_config_from_json(read_json_file(config), config.string())->layout;
    return inspection;
  }
  if (path.extension() == ".safetensors")
    return {"safetensors", "", rows_of_tensors(formats::ShardedSafetensors(path)), {}};
  if (fs::exists(path / "model.safetensors") || fs::exists(path / "model.safetensors.index.json")) {
    return {"huggingface", "", rows_of_tensors(formats::ShardedSafetensors(path)), {}};
  }
  if (fs::is_regular_file(path)) return {"gguf", "", rows_of(formats::GgufFile(path)), {}};
  // Its errors say what a model folder holds.
  return {"gguf", "", rows_of(formats::GgufFile(formats::open_weight_source(path)->path())), {}};
}

}  // namespace lrqat::model
