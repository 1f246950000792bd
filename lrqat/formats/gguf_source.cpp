#include <algorithm>
#include <list>
#include <unordered_map>

#include "lrqat/base/error.h"
#include "lrqat/formats/fused_projections.h"
#include "lrqat/formats/ggml_blocks.h"
#include "lrqat/formats/gguf.h"
#include "lrqat/formats/gguf_names.h"
#include "lrqat/formats/messages.h"
#include "lrqat/formats/sources.h"

namespace lrqat::formats {
namespace {

// Read into the config (model_config_gguf.cpp) instead of the weights.
bool belongs_to_config(std::string_view name) {
  return name == "rope_freqs.weight" || name == "rope_factors_long.weight" ||
         name == "rope_factors_short.weight";
}

constexpr std::string_view kWeight = ".weight";

class GgufSource final : public WeightSource {
 public:
  explicit GgufSource(const std::filesystem::path& path) : file_(path), config_(config_from_gguf(file_)) {
    const ModelFamily& family = family_of(config_);
    for (const GgufTensor& tensor : file_.tensors()) {
      if (belongs_to_config(tensor.name)) continue;
      const auto name = hf_name(tensor.name, &family);
      if (!name) {
        fail(path.string(), ": tensor ", quoted_name(tensor.name), " is not a tensor of a ",
             config_.model_type, " model");
      }
      if (name->ends_with(kWeight)) {
        for (const std::string& part : parts_of(config_, name->substr(0, name->size() - kWeight.size()))) {
          add(part + std::string(kWeight), tensor);
        }
      } else {
        add(*name, tensor);
      }
    }
  }

  const ModelConfig& config() const override { return config_; }
  std::string path() const override { return file_.path().string(); }
  std::string kind() const override { return "gguf"; }
  std::vector<std::string> names() const override { return names_; }
  bool has(std::string_view name) const override { return tensors_.contains(std::string(name)); }
  std::vector<std::int64_t> shape(std::string_view name) const override { return at(name).shape; }
  std::string dtype_name(std::string_view name) const override {
    return std::string(ggml_type_name(at(name).type));
  }
  void release(std::string_view name) const override {
    const GgufTensor& tensor = at(name);
    const auto is_made = [&](const std::vector<float>& norm) {
      return std::as_bytes(std::span(norm)).data() == tensor.data.data();
    };
    if (std::none_of(norms_.begin(), norms_.end(), is_made)) file_.release(tensor);
  }

  SourceTensor raw(std::string_view name) const override {
    const GgufTensor& tensor = at(name);
    SourceTensor source{tensor.type, tensor.shape, tensor.data, {}};
    if (is_row_permuted(config_, name)) {
      for (std::int64_t row = 0; row < tensor.shape[0]; ++row) {
        source.row_of.push_back(gguf_row_of_hf(row, config_.head_dim));
      }
    }
    return source;
  }

  void read_rows(std::string_view name, std::int64_t row_begin, std::int64_t row_end,
                 float* out) const override {
    const GgufTensor& tensor = at(name);
    LRQAT_CHECK(0 <= row_begin && row_begin <= row_end && row_end <= tensor.shape[0], name, " rows ",
                row_begin, " to ", row_end);
    const std::int64_t cols = tensor.elements() / tensor.shape[0];
    const std::byte* data = tensor.data.data();
    if (!is_row_permuted(config_, name)) {
      return read_elements(tensor.type, data, row_begin * cols, row_end * cols, out);
    }
    for (std::int64_t row = row_begin; row < row_end; ++row, out += cols) {
      const std::int64_t stored = gguf_row_of_hf(row, config_.head_dim);
      read_elements(tensor.type, data, stored * cols, (stored + 1) * cols, out);
    }
  }

 private:
  // The tensor, the rows of a fused one that are this part, or a norm without the 1 that files add to it.
  void add(const std::string& name, GgufTensor tensor) {
    const auto part =
        name.ends_with(kWeight)
            ? fused_part(config_, std::string_view(name).substr(0, name.size() - kWeight.size()))
            : std::nullopt;
    if (part) take_part(path(), *part, tensor);
    if (family_of(config_).norm_offset && name.ends_with("norm.weight")) take_one_off(tensor);
    names_.push_back(name);
    tensors_.emplace(name, std::move(tensor));
  }

  void take_one_off(GgufTensor& tensor) {
    std::vector<float>& values = norms_.emplace_back(static_cast<std::size_t>(tensor.elements()));
    dequantize_row(tensor.type, tensor.data.data(), values.data(), tensor.elements());
    for (float& value : values) value -= 1.0F;
    tensor.type = GgmlType::F32;
    tensor.data = std::as_bytes(std::span(values));
  }

  const GgufTensor& at(std::string_view name) const {
    const auto it = tensors_.find(std::string(name));
    if (it == tensors_.end()) fail(path(), ": no tensor ", quoted_name(name), near_names_hint(name, names_));
    return it->second;
  }

  GgufFile file_;
  ModelConfig config_;
  std::vector<std::string> names_;
  std::unordered_map<std::string, GgufTensor> tensors_;
  std::list<std::vector<float>> norms_;  // what take_one_off made
};

}  // namespace

std::unique_ptr<WeightSource> open_gguf_source(const std::filesystem::path& path) {
  auto source = std::make_unique<GgufSource>(path);
  check_tensors(*source);
  return source;
}

}  // namespace lrqat::formats
