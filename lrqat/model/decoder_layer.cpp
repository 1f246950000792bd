// One layer of the decoder (decoder.h): attention and feed-forward with their residual sums.
#include <ATen/ATen.h>

#include "lrqat/base/error.h"
#include "lrqat/model/decoder.h"

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
  ProducerOf<Linear> input_norm, values, mlp_norm, up;
  input_norm.norm = &layer.input_layernorm_;
  input_norm.norm_name = layer.prefix_ + "input_layernorm.weight";
  values.linear = &attention.v_proj;
  values.copies = attention.num_heads / attention.num_key_value_heads;
  values.width = attention.head_dim;
  mlp_norm.norm = &layer.feed_forward_norm();
  mlp_norm.norm_name = concat(layer.prefix_, norm, ".weight");
  if (!mlp.hadamard) up.linear = &mlp.up_proj;  // behind the transform, each channel comes from all of them
  return {{"self_attn.input",
           LayerHalf::attention,
           input_norm,
           {&attention.q_proj, &attention.k_proj, &attention.v_proj}},
          {"self_attn.output", LayerHalf::attention, values, {&attention.o_proj}},
          {"mlp.input", LayerHalf::feed_forward, mlp_norm, {&mlp.gate_proj, &mlp.up_proj}},
          {"mlp.product", LayerHalf::feed_forward, up, {&mlp.down_proj}}};
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
  for (const auto& [name, norm] : norms()) {
    if (norm->weight.requires_grad())
      out.push_back({prefix_ + name, norm->weight, quant::ParameterKind::float_tensor});
  }
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

}  // namespace lrqat::model
