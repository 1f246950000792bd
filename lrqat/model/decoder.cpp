#include "lrqat/model/decoder.h"

#include <ATen/ATen.h>

#include <cmath>

#include "lrqat/base/error.h"
#include "lrqat/quant/float_weight.h"
#include "lrqat/quant/tile_math.h"

namespace lrqat::model {
namespace {

// The bits of a point, by its name.
int bits_of(const std::string& point, const quant::ActivationOptions& options, bool rotated_heads) {
  if (point == "self_attn.cached_keys" || point == "self_attn.cached_values") return options.kv_bits;
  if (point == "mlp.product") return options.down();
  // The scores then read the keys as the cache holds them.
  if (point == "self_attn.rotated_keys" && rotated_heads && options.kv_bits < quant::kFloatBits)
    return quant::kFloatBits;
  const bool score = point == "self_attn.queries" || point == "self_attn.rotated_keys";
  return score && options.activation_bits < quant::kFloatBits ? quant::kScoreBits : options.activation_bits;
}

void append_trained(const std::string& name, const at::Tensor& value, std::vector<quant::Parameter>& out) {
  if (value.requires_grad()) out.push_back({name, value, quant::ParameterKind::float_tensor});
}

constexpr const char* kEmbedding = "model.embed_tokens.weight";
constexpr const char* kHead = "lm_head.weight";
constexpr const char* kNorm = "model.norm.weight";

}  // namespace

Decoder::Decoder(formats::ModelConfig config, DecoderParts parts)
    : config_(std::move(config)),
      embedding_(std::move(parts.embedding)),
      layers_(std::move(parts.layers)),
      norm_(std::move(parts.norm)),
      lm_head_(std::move(parts.lm_head)),
      rotary_(config_.head_dim, config_.rope_theta, config_.rope_scaling,
              formats::rotary_dimensions(config_)) {
  LRQAT_CHECK(num_layers() == config_.num_hidden_layers);
  if (config_.rope_local_theta > 0) {
    local_rotary_.emplace(config_.head_dim, config_.rope_local_theta, RopeScaling{},
                          formats::rotary_dimensions(config_));
  }
}

const nn::RotaryEmbedding& Decoder::rotary(std::int64_t layer) const {
  return local_rotary_ && formats::has_sliding_window(config_, layer) ? *local_rotary_ : rotary_;
}

at::Tensor Decoder::logits(const at::Tensor& hidden) const {
  return nn::head_logits(lm_head_, config_.final_logit_softcapping, hidden);
}

std::int64_t Decoder::logit_rows() const { return nn::logit_rows(config_.vocab_size); }

ops::TargetScores Decoder::score_rows(const at::Tensor& hidden, const at::Tensor& targets) const {
  return nn::score_rows(lm_head_, config_.final_logit_softcapping, hidden, targets);
}

at::Tensor Decoder::embed(const at::Tensor& tokens) const {
  LRQAT_CHECK(tokens.dim() == 2);
  const at::Tensor embedded = embedding_.forward(tokens);
  if (!formats::family_of(config_).scaled_embeddings) return embedded;
  return embedded * std::sqrt(static_cast<double>(config_.hidden_size));
}

at::Tensor Decoder::layer_forward(std::int64_t index, const at::Tensor& hidden, std::int64_t position,
                                  nn::KvCacheLayer* cache, at::Tensor* down_product) const {
  return layer(index).forward(hidden, rotary(index), position, cache, down_product);
}

at::Tensor Decoder::final_norm(const at::Tensor& hidden) const { return norm_.forward(hidden); }

at::Tensor Decoder::forward(const at::Tensor& tokens, nn::KvCache* cache) const {
  const std::int64_t position = cache != nullptr ? cache->length() : 0;
  at::Tensor hidden = embed(tokens);
  for (std::int64_t i = 0; i < num_layers(); ++i) {
    hidden = layer_forward(i, hidden, position, cache != nullptr ? &cache->layer(i) : nullptr);
  }
  return final_norm(hidden);
}

at::Tensor Decoder::forward_packed(const at::Tensor& tokens, const nn::PackedRow& row,
                                   const nn::KvCache* prefix) const {
  at::Tensor hidden = embed(tokens);
  for (std::int64_t i = 0; i < num_layers(); ++i) {
    hidden = layer(i).forward_packed(hidden, rotary(i), row, prefix != nullptr ? &prefix->layer(i) : nullptr);
  }
  return final_norm(hidden);
}

std::vector<nn::Linear*> Decoder::linears() {
  std::vector<nn::Linear*> out;
  for (const auto& layer : layers_) {
    for (nn::Linear* linear : layer->linears()) out.push_back(linear);
  }
  return out;
}

std::vector<const nn::Linear*> Decoder::linears() const {
  std::vector<const nn::Linear*> out;
  for (const auto& layer : layers_) {
    for (nn::Linear* linear : layer->linears()) out.push_back(linear);
  }
  return out;
}

nn::Linear* Decoder::find_linear(std::string_view name) {
  for (nn::Linear* linear : linears()) {
    if (linear->name() == name) return linear;
  }
  return nullptr;
}

std::vector<quant::Parameter> Decoder::parameters() const {
  std::vector<quant::Parameter> out;
  const auto trained = [&](const char* name) {
    if (const auto found = replaced_.find(name); found != replaced_.end())
      append_trained(name, found->second, out);
  };
  trained(kEmbedding);
  for (const auto& layer : layers_) {
    for (quant::Parameter& parameter : layer->parameters()) out.push_back(std::move(parameter));
  }
  trained(kNorm);
  trained(kHead);
  return out;
}

void Decoder::set_activations(const quant::ActivationOptions& options) {
  activations_ = options;
  for (std::int64_t i = 0; i < num_layers(); ++i) {
    for (const auto& [name, point] : layer(i).activation_points()) {
      const int bits = bits_of(name, options, config_.rotated_heads);
      point->quantizer = bits >= quant::kFloatBits
                             ? nullptr
                             : std::make_shared<quant::ActivationQuantizer>(
                                   concat("model.layers.", i, ".", name), bits, options.range);
    }
  }
}

void Decoder::share_activations(const Decoder& other) {
  LRQAT_CHECK(num_layers() == other.num_layers());
  set_activations(other.activations());
  const auto theirs = other.activation_quantizers();
  std::size_t next = 0;
  for (const auto& layer : layers_) {
    for (const auto& [name, point] : layer->activation_points()) {
      if (point->quantizer) point->quantizer = theirs.at(next++);
    }
  }
}

std::vector<std::shared_ptr<quant::ActivationQuantizer>> Decoder::activation_quantizers() const {
  std::vector<std::shared_ptr<quant::ActivationQuantizer>> out;
  for (const auto& layer : layers_) {
    const auto quantizers = layer->activation_quantizers();
    out.insert(out.end(), quantizers.begin(), quantizers.end());
  }
  return out;
}

std::vector<std::string> Decoder::norm_names() const {
  std::vector<std::string> names;
  for (std::int64_t i = 0; i < num_layers(); ++i) {
    for (const auto& [name, norm] : layer(i).norms()) names.push_back(concat("model.layers.", i, ".", name));
  }
  names.emplace_back(kNorm);
  return names;
}

nn::RmsNorm* Decoder::find_norm(const std::string& name) {
  if (name == kNorm) return &norm_;
  for (std::int64_t i = 0; i < num_layers(); ++i) {
    for (const auto& [own, norm] : layer(i).norms()) {
      if (name == concat("model.layers.", i, ".", own)) return norm;
    }
  }
  return nullptr;
}

bool Decoder::replace(const std::string& name, const at::Tensor& value) {
  LRQAT_CHECK(value.scalar_type() == at::kFloat && value.is_contiguous(), name);
  const bool tied = lm_head_.weight() == embedding_.weight();
  if (nn::RmsNorm* norm = find_norm(name)) {
    LRQAT_CHECK(norm->weight.sizes() == value.sizes(), name);
    norm->weight = value;
  } else if (name == kEmbedding) {
    const auto weight = std::make_shared<quant::FloatWeight>(value);
    if (tied) lm_head_.set_weight(weight);
    embedding_ = nn::Embedding(weight);
  } else if (name == kHead && !tied) {
    lm_head_.set_weight(std::make_shared<quant::FloatWeight>(value));
  } else {
    return false;
  }
  replaced_[name] = value;
  return true;
}

at::Tensor Decoder::float_tensor(const std::string& name) {
  if (const nn::RmsNorm* norm = find_norm(name)) return norm->weight.detach().clone();
  LRQAT_CHECK(name == kEmbedding || name == kHead, name);
  const at::NoGradGuard no_grad;
  return quant::values_of(name == kEmbedding ? *embedding_.weight() : *lm_head_.weight()).clone();
}

void Decoder::set_compute(ops::ComputeType compute) {
  for (nn::Linear* linear : linears()) linear->set_compute(compute);
  lm_head_.set_compute(compute);
}

std::int64_t Decoder::resident_bytes() const {
  std::int64_t bytes = embedding_.weight()->resident_bytes();
  if (lm_head_.weight() != embedding_.weight()) bytes += lm_head_.weight()->resident_bytes();
  for (const nn::Linear* linear : linears()) bytes += linear->weight()->resident_bytes();
  return bytes;
}

}  // namespace lrqat::model
