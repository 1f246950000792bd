#include <algorithm>
#include <cstring>

#include "lrqat/base/error.h"
#include "lrqat/base/json.h"
#include "lrqat/formats/checkpoint.h"
#include "lrqat/formats/fused_projections.h"
#include "lrqat/formats/messages.h"
#include "lrqat/formats/sources.h"

namespace lrqat::formats {
namespace {

constexpr std::string_view kHead = "lm_head.weight";
constexpr std::string_view kWeight = ".weight";
constexpr std::string_view kEmbedding = "model.embed_tokens.weight";

// Buffers that older checkpoints carry and that every reader computes anew.
bool is_buffer(std::string_view name) { return name.ends_with(".rotary_emb.inv_freq"); }

GgmlType ggml_type_of(const TensorView& tensor, const std::string& where) {
  switch (tensor.dtype) {
    case DType::F32:
      return GgmlType::F32;
    case DType::F16:
      return GgmlType::F16;
    case DType::BF16:
      return GgmlType::BF16;
    case DType::F64:
      return GgmlType::F64;
    default:
      fail(where, ": tensor ", quoted_name(tensor.name), " is ", dtype_name(tensor.dtype),
           ", expected float weights (F32, F16, BF16 or F64)");
  }
}

class HuggingFaceSource final : public WeightSource {
 public:
  HuggingFaceSource(const std::filesystem::path& folder, ModelConfig config, bool has_other_parts)
      : config_(std::move(config)),
        tensors_(folder, config_, has_other_parts),
        hide_head_(has_redundant_head()) {}

  const ModelConfig& config() const override { return config_; }
  std::string path() const override { return tensors_.path().string(); }
  std::string kind() const override { return "huggingface"; }

  std::vector<std::string> names() const override {
    std::vector<std::string> names;
    for (const std::string& name : tensors_.names()) {
      if (is_hidden(name)) continue;
      if (!name.ends_with(kWeight)) {
        names.push_back(name);
        continue;
      }
      for (std::string& part : parts_of(config_, name.substr(0, name.size() - kWeight.size()))) {
        names.push_back(part.append(kWeight));
      }
    }
    return names;
  }

  bool has(std::string_view name) const override {
    return !is_hidden(name) && tensors_.find(stored_name(name)) != nullptr;
  }
  std::vector<std::int64_t> shape(std::string_view name) const override { return view(name).shape; }
  std::string dtype_name(std::string_view name) const override {
    return std::string(formats::dtype_name(view(name).dtype));
  }

  SourceTensor raw(std::string_view name) const override {
    const TensorView tensor = view(name);
    return {ggml_type_of(tensor, path()), tensor.shape, tensor.data, {}};
  }

  void read_rows(std::string_view name, std::int64_t row_begin, std::int64_t row_end,
                 float* out) const override {
    const SourceTensor tensor = raw(name);
    const std::int64_t rows = tensor.shape.empty() ? 1 : tensor.shape[0];
    LRQAT_CHECK(0 <= row_begin && row_begin <= row_end && row_end <= rows, name, " rows ", row_begin, " to ",
                row_end);
    read_elements(tensor.type, tensor.data.data(), row_begin * tensor.cols(), row_end * tensor.cols(), out);
  }

  void release(std::string_view name) const override { tensors_.release(stored_name(name)); }

 private:
  std::optional<FusedPart> part_of(std::string_view name) const {
    if (!name.ends_with(kWeight)) return std::nullopt;
    return fused_part(config_, name.substr(0, name.size() - kWeight.size()));
  }

  std::string stored_name(std::string_view name) const {
    const auto part = part_of(name);
    return part ? part->fused + std::string(kWeight) : std::string(name);
  }

  // The tensor, or its rows of a fused one.
  TensorView view(std::string_view name) const {
    TensorView tensor = tensors_.at(stored_name(name));
    const auto part = part_of(name);
    if (part) take_part(path(), *part, tensor);
    return tensor;
  }

  bool is_hidden(std::string_view name) const { return is_buffer(name) || (hide_head_ && name == kHead); }

  // A tied model may store its head as well; then both must be the same tensor.
  bool has_redundant_head() const {
    const TensorView* head = tensors_.find(kHead);
    if (!config_.tie_word_embeddings || head == nullptr) return false;
    const TensorView& embedding = tensors_.at(kEmbedding);
    const bool same =
        head->dtype == embedding.dtype && head->shape == embedding.shape &&
        std::equal(head->data.begin(), head->data.end(), embedding.data.begin(), embedding.data.end());
    if (!same) {
      fail(
          path(),
          ": tie_word_embeddings is true, but lm_head.weight differs from model.embed_tokens.weight; set it ",
          "to false in config.json or remove lm_head.weight");
    }
    tensors_.release(kHead);
    tensors_.release(kEmbedding);
    return true;
  }

  ModelConfig config_;
  CheckpointTensors tensors_;
  bool hide_head_;
};

// Folders that hold floats alone get here.
void refuse_quantized(const Json& config, const std::string& where) {
  constexpr const char* kInstead =
      ": name the float model that it was made from, or a folder of quant_method lrqat, compressed-tensors, "
      "gptq, awq or auto-round";
  const auto quantization = config.find("quantization_config");
  const bool has_any = quantization != config.end() && !quantization->is_null();
  const bool has_method = has_any && quantization->is_object() && quantization->contains("quant_method");
  // MLX says how it quantized under either name, and never by which method.
  const auto own = config.find("quantization");
  const bool mlx = own != config.end() && own->is_object();
  if (!has_method &&
      (mlx || (has_any && quantization->contains("bits") && quantization->contains("group_size")))) {
    fail(where, ": the weights were quantized by MLX (", json_excerpt(mlx ? *own : *quantization, 60),
         "), whose layout is not read here", kInstead);
  }
  if (!has_any) return;
  const std::string method = has_method ? json_excerpt((*quantization)["quant_method"], 60) : "none";
  fail(where, ": the weights are quantized (quantization_config with quant_method ", method,
       "), which is not read here", kInstead);
}

}  // namespace

std::unique_ptr<WeightSource> open_huggingface_source(const std::filesystem::path& folder) {
  const std::string where = (folder / "config.json").string();
  const FolderConfig found = read_folder_config(folder);
  ModelConfig config = config_from_json(found.json, where);
  refuse_quantized(found.json, where);
  auto source = std::make_unique<HuggingFaceSource>(folder, std::move(config), found.has_other_parts);
  for (const std::string& name : source->names()) refuse_quantized_leftover(name, source->path());
  check_tensors(*source);
  return source;
}

}  // namespace lrqat::formats
