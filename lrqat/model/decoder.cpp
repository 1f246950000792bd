#include "lrqat/model/decoder.h"

#include <ATen/ATen.h>

#include <cmath>

#include "lrqat/base/error.h"
#include "lrqat/ops/soft_cap.h"
#include "lrqat/quant/float_weight.h"
#include "lrqat/quant/tile_math.h"

namespace lrqat::model {
namespace {

void append_parameters(const nn::Linear& linear, std::vector<quant::Parameter>& out) {
  for (quant::Parameter parameter : linear.weight()->parameters()) {
    parameter.name = linear.name() + "." + parameter.name;
    out.push_back(std::move(parameter));
  }
}

template <typename Linear>
std::vector<Linear*> linears_of(const std::vector<LinearGroupOf<Linear>>& groups) {
  std::vector<Linear*> out;
  for (const auto& group : groups) out.insert(out.end(), group.linears.begin(), group.linears.end());
  return out;
}

// Points of a layer by name, in the order of the forward pass.
template <typename Point, typename Attention, typename Mlp>
std::vector<std::pair<std::string, Point*>> points_of(Attention& attention, Mlp& mlp) {
  return {{"self_attn.input", &attention.input},
          {"self_attn.cached_keys", &attention.cached_keys},
          {"self_attn.cached_values", &attention.cached_values},
          {"self_attn.queries", &attention.queries},
          {"self_attn.rotated_keys", &attention.rotated_keys},
          {"self_attn.output", &attention.output},
          {"mlp.input", &mlp.input},
          {"mlp.product", &mlp.product}};
}

// The bits of a point, by its name.
int bits_of(const std::string& point, const quant::ActivationOptions& options) {
  if (point == "self_attn.cached_keys" || point == "self_attn.cached_values") return options.kv_bits;
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

DecoderLayer::DecoderLayer(nn::RmsNorm input_layernorm, nn::Attention self_attn,
                           nn::RmsNorm post_attention_layernorm, nn::Mlp mlp,
                           std::optional<SandwichNorms> sandwich)
    : input_layernorm_(std::move(input_layernorm)),
      self_attn_(std::move(self_attn)),
      post_attention_layernorm_(std::move(post_attention_layernorm)),
      mlp_(std::move(mlp)),
      sandwich_(std::move(sandwich)) {
  const std::string& name = self_attn_.q_proj.name();  // model.layers.3.self_attn.q_proj
  prefix_ = name.substr(0, name.rfind("self_attn."));
}

at::Tensor DecoderLayer::add_attended(const at::Tensor& hidden, const at::Tensor& mixed) const {
  return hidden + (sandwich_ ? post_attention_layernorm_.forward(mixed) : mixed);
}

at::Tensor DecoderLayer::forward(const at::Tensor& hidden, const nn::RotaryEmbedding& rotary,
                                 std::int64_t position, nn::KvCacheLayer* cache,
                                 at::Tensor* down_product) const {
  return feed_forward(attend(hidden, rotary, position, cache), down_product);
}

at::Tensor DecoderLayer::attend(const at::Tensor& hidden, const nn::RotaryEmbedding& rotary,
                                std::int64_t position, nn::KvCacheLayer* cache) const {
  return add_attended(hidden, self_attn_.forward(input_layernorm_.forward(hidden), rotary, position, cache));
}

at::Tensor DecoderLayer::feed_forward(const at::Tensor& attended, at::Tensor* down_product) const {
  const at::Tensor fed = mlp_.forward(feed_forward_norm().forward(attended), down_product);
  return attended + (sandwich_ ? sandwich_->post_feedforward_layernorm.forward(fed) : fed);
}

const nn::RmsNorm& DecoderLayer::feed_forward_norm() const {
  return sandwich_ ? sandwich_->pre_feedforward_layernorm : post_attention_layernorm_;
}

at::Tensor DecoderLayer::forward_packed(const at::Tensor& hidden, const nn::RotaryEmbedding& rotary,
                                        const nn::PackedRow& row, const nn::KvCacheLayer* prefix) const {
  return feed_forward(
      add_attended(hidden, self_attn_.forward_packed(input_layernorm_.forward(hidden), rotary, row, prefix)));
}

template <typename Linear, typename Layer>
std::vector<LinearGroupOf<Linear>> DecoderLayer::groups_of(Layer& layer) {
  auto& attention = layer.self_attn_;
  auto& mlp = layer.mlp_;
  const std::string norm = layer.sandwich_ ? "pre_feedforward_layernorm" : "post_attention_layernorm";
  return {{"self_attn.input",
           LayerHalf::attention,
           {.norm = &layer.input_layernorm_, .norm_name = layer.prefix_ + "input_layernorm.weight"},
           {&attention.q_proj, &attention.k_proj, &attention.v_proj}},
          {"self_attn.output",
           LayerHalf::attention,
           {.linear = &attention.v_proj,
            .copies = attention.num_heads / attention.num_key_value_heads,
            .width = attention.head_dim},
           {&attention.o_proj}},
          {"mlp.input",
           LayerHalf::feed_forward,
           {.norm = &layer.feed_forward_norm(), .norm_name = concat(layer.prefix_, norm, ".weight")},
           {&mlp.gate_proj, &mlp.up_proj}},
          {"mlp.product", LayerHalf::feed_forward, {.linear = &mlp.up_proj}, {&mlp.down_proj}}};
}

std::vector<LinearGroup> DecoderLayer::linear_groups() { return groups_of<nn::Linear>(*this); }

std::vector<ConstLinearGroup> DecoderLayer::linear_groups() const {
  return groups_of<const nn::Linear>(*this);
}

std::vector<nn::Linear*> DecoderLayer::linears() { return linears_of(linear_groups()); }

std::vector<const nn::Linear*> DecoderLayer::linears() const { return linears_of(linear_groups()); }

std::vector<quant::Parameter> DecoderLayer::parameters() const {
  std::vector<quant::Parameter> out;
  for (const nn::Linear* linear : linears()) append_parameters(*linear, out);
  for (const auto& quantizer : activation_quantizers()) {
    for (quant::Parameter& parameter : quantizer->parameters()) out.push_back(std::move(parameter));
  }
  for (const auto& [name, norm] : norms()) append_trained(prefix_ + name, norm->weight, out);
  return out;
}

std::vector<std::pair<std::string, nn::ActivationPoint*>> DecoderLayer::activation_points() {
  return points_of<nn::ActivationPoint>(self_attn_.points, mlp_.points);
}

std::vector<std::shared_ptr<quant::ActivationQuantizer>> DecoderLayer::activation_quantizers() const {
  std::vector<std::shared_ptr<quant::ActivationQuantizer>> out;
  for (const auto& [name, point] : points_of<const nn::ActivationPoint>(self_attn_.points, mlp_.points)) {
    if (point->quantizer) out.push_back(point->quantizer);
  }
  return out;
}

template <typename Norm, typename Layer>
std::vector<std::pair<std::string, Norm*>> DecoderLayer::norms_of(Layer& layer) {
  std::vector<std::pair<std::string, Norm*>> out{
      {"input_layernorm.weight", &layer.input_layernorm_},
      {"post_attention_layernorm.weight", &layer.post_attention_layernorm_}};
  if (layer.sandwich_) {
    out.emplace_back("pre_feedforward_layernorm.weight", &layer.sandwich_->pre_feedforward_layernorm);
    out.emplace_back("post_feedforward_layernorm.weight", &layer.sandwich_->post_feedforward_layernorm);
  }
  auto& attention = layer.self_attn_;
  if (attention.q_norm) out.emplace_back("self_attn.q_norm.weight", &*attention.q_norm);
  if (attention.k_norm) out.emplace_back("self_attn.k_norm.weight", &*attention.k_norm);
  return out;
}

std::vector<std::pair<std::string, nn::RmsNorm*>> DecoderLayer::norms() {
  return norms_of<nn::RmsNorm>(*this);
}

std::vector<std::pair<std::string, const nn::RmsNorm*>> DecoderLayer::norms() const {
  return norms_of<const nn::RmsNorm>(*this);
}

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
    local_rotary_.emplace(config_.head_dim, config_.rope_local_theta, formats::RopeScaling{},
                          formats::rotary_dimensions(config_));
  }
}

const nn::RotaryEmbedding& Decoder::rotary(std::int64_t layer) const {
  return local_rotary_ && formats::has_sliding_window(config_, layer) ? *local_rotary_ : rotary_;
}

at::Tensor Decoder::logits(const at::Tensor& hidden) const {
  return ops::soft_cap(lm_head_.forward(hidden), config_.final_logit_softcapping);
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
      const int bits = bits_of(name, options);
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
