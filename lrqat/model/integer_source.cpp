#include "lrqat/model/integer_source.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <unordered_map>

#include "lrqat/base/error.h"
#include "lrqat/base/sha256.h"
#include "lrqat/base/user_text.h"
#include "lrqat/model/converted.h"
#include "lrqat/model/load_packed.h"
#include "lrqat/model/packed_config.h"

namespace lrqat::model {
namespace {

namespace fs = std::filesystem;
using formats::GgmlType;

class IntegerSource final : public formats::WeightSource, public IntegerTensors {
 public:
  IntegerSource(fs::path path, std::unique_ptr<Decoder> decoder)
      : path_(std::move(path)), decoder_(std::move(decoder)) {
    for (const auto& tensor : formats::expected_tensors(config())) {
      names_.push_back(tensor.name);
      shapes_.emplace(tensor.name, tensor.shape);
    }
    for (const nn::Linear* linear : decoder_->linears()) {
      weights_.emplace(linear->name() + ".weight", linear->weight());
      if (linear->bias().defined()) vectors_.emplace(linear->name() + ".bias", linear->bias());
    }
    weights_.emplace("model.embed_tokens.weight", decoder_->embedding().weight());
    weights_.emplace("lm_head.weight", decoder_->lm_head().weight());
    for (std::int64_t i = 0; i < decoder_->num_layers(); ++i) add_norms(i);
    vectors_.emplace("model.norm.weight", decoder_->norm().weight);
  }

  const formats::ModelConfig& config() const override { return decoder_->config(); }
  std::vector<std::string> names() const override { return names_; }
  bool has(std::string_view name) const override { return shapes_.contains(std::string(name)); }
  std::vector<std::int64_t> shape(std::string_view name) const override {
    const auto found = shapes_.find(std::string(name));
    if (found == shapes_.end()) fail(path(), ": no tensor ", quote(name));
    return found->second;
  }
  std::string path() const override { return path_.string(); }
  std::string kind() const override { return "integers"; }
  void release(std::string_view) const override {}

  std::shared_ptr<quant::WeightParametrization> integers(std::string_view name) const override {
    const auto found = weights_.find(std::string(name));
    return found != weights_.end() && found->second->is_quantized() ? found->second : nullptr;
  }

  std::string dtype_name(std::string_view name) const override {
    const auto* weight = find_weight(name);
    if (weight != nullptr && weight->is_quantized()) return describe(weight->convert());
    return std::string(formats::ggml_type_name(raw(name).type));
  }

  void read_rows(std::string_view name, std::int64_t row_begin, std::int64_t row_end,
                 float* out) const override {
    const quant::WeightParametrization* weight = find_weight(name);
    at::Tensor rows;
    if (weight == nullptr) {
      rows = vectors_.at(std::string(name)).narrow(0, row_begin, row_end - row_begin);
    } else {
      rows = weight->make_tile(row_begin, row_end, ops::ComputeType::float32).to_float();
    }
    rows = rows.contiguous();
    std::copy_n(rows.const_data_ptr<float>(), rows.numel(), out);
  }

  // Integers have no stored form that a reader of floats could use: a type of no float sends everyone to
  // read_rows.
  formats::SourceTensor raw(std::string_view name) const override {
    const quant::WeightParametrization* weight = find_weight(name);
    if (weight == nullptr) return mapped(vectors_.at(std::string(name)), GgmlType::F32);
    if (const formats::SourceTensor* filed = weight->file_tensor()) return *filed;
    const at::Tensor plain = weight->float_storage();
    if (!plain.defined()) return {GgmlType::Q8_K, shape(name), {}, {}};
    const at::ScalarType type = plain.scalar_type();
    return mapped(plain, type == at::kHalf       ? GgmlType::F16
                         : type == at::kBFloat16 ? GgmlType::BF16
                                                 : GgmlType::F32);
  }

 private:
  void add_norms(std::int64_t index) {
    const DecoderLayer& layer = static_cast<const Decoder&>(*decoder_).layer(index);
    const std::string prefix = concat("model.layers.", index, ".");
    vectors_.emplace(prefix + "input_layernorm.weight", layer.input_layernorm().weight);
    vectors_.emplace(prefix + "post_attention_layernorm.weight", layer.post_attention_layernorm().weight);
    if (const auto& sandwich = layer.sandwich()) {
      vectors_.emplace(prefix + "pre_feedforward_layernorm.weight",
                       sandwich->pre_feedforward_layernorm.weight);
      vectors_.emplace(prefix + "post_feedforward_layernorm.weight",
                       sandwich->post_feedforward_layernorm.weight);
    }
    const nn::Attention& attention = layer.self_attn();
    if (attention.q_norm) vectors_.emplace(prefix + "self_attn.q_norm.weight", attention.q_norm->weight);
    if (attention.k_norm) vectors_.emplace(prefix + "self_attn.k_norm.weight", attention.k_norm->weight);
  }

  // With a checksum, because a run tells by types, shapes and stored bytes whether its model is still the
  // same.
  static std::string describe(const quant::QuantizedWeight& weight) {
    Sha256 sha256;
    for (const at::Tensor& tensor : {weight.weight_int, weight.scale, weight.zero_point, weight.offset}) {
      if (!tensor.defined()) continue;
      const at::Tensor plain = tensor.contiguous();
      sha256.update({static_cast<const std::byte*>(plain.const_data_ptr()), plain.nbytes()});
    }
    return concat(weight.grid.num_bits, "-bit integers ", sha256.hex_digest().substr(0, 16));
  }

  const quant::WeightParametrization* find_weight(std::string_view name) const {
    const auto found = weights_.find(std::string(name));
    return found == weights_.end() ? nullptr : found->second.get();
  }

  static formats::SourceTensor mapped(const at::Tensor& tensor, GgmlType type) {
    LRQAT_CHECK(tensor.is_contiguous());
    return {type,
            tensor.sizes().vec(),
            {static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()},
            {}};
  }

  fs::path path_;
  std::unique_ptr<Decoder> decoder_;
  std::vector<std::string> names_;
  std::unordered_map<std::string, std::vector<std::int64_t>> shapes_;
  std::unordered_map<std::string, std::shared_ptr<quant::WeightParametrization>> weights_;
  std::unordered_map<std::string, at::Tensor> vectors_;
};

std::vector<SourceOpener>& openers() {
  static std::vector<SourceOpener> table = {
      {is_converted_folder, [](const fs::path& path) { return source_of(path, load_converted(path)); }},
      {is_packed_folder, [](const fs::path& path) { return source_of(path, load_packed(path)); }},
      {[](const fs::path&) { return true; },
       [](const fs::path& path) { return SharedSource(formats::open_weight_source(path)); }},
  };
  return table;
}

}  // namespace

SharedSource source_of(const fs::path& path, std::unique_ptr<Decoder> decoder) {
  return std::make_shared<IntegerSource>(path, std::move(decoder));
}

void add_source_opener(SourceOpener opener) { openers().insert(openers().begin(), std::move(opener)); }

SharedSource open_source(const fs::path& path) {
  for (const SourceOpener& opener : openers()) {
    if (opener.recognises(path)) return opener.open(path);
  }
  internal_error(__FILE__, __LINE__, "the last row takes everything", path.string());
}

}  // namespace lrqat::model
