#include "lrqat/model/build.h"

#include <unordered_set>

#include "lrqat/base/error.h"
#include "lrqat/quant/float_weight.h"

namespace lrqat::model {
namespace {

class Builder {
 public:
  Builder(const formats::ModelConfig& config, const WeightProvider& provider, ops::ComputeType compute)
      : config_(config), provider_(provider), compute_(compute) {
    for (const auto& tensor : formats::expected_tensors(config)) expected_.insert(tensor.name);
  }

  std::unique_ptr<DecoderLayer> layer(std::int64_t index) const {
    const std::string prefix = concat("model.layers.", index, ".");
    return std::make_unique<DecoderLayer>(
        norm(prefix + "input_layernorm"), attention(prefix + "self_attn.", index),
        norm(prefix + "post_attention_layernorm"), mlp(prefix + "mlp."), sandwich(prefix));
  }

  nn::RmsNorm norm(const std::string& module) const {
    return {provider_.vector(module + ".weight"), config_.rms_norm_eps,
            formats::family_of(config_).norm_offset ? 1.0 : 0.0};
  }

  nn::Linear linear(const std::string& module, std::shared_ptr<quant::WeightParametrization> weight) const {
    const std::string bias = module + ".bias";
    return {module, std::move(weight), expected_.contains(bias) ? provider_.vector(bias) : at::Tensor(),
            compute_};
  }

 private:
  nn::Linear linear(const std::string& module) const { return linear(module, provider_.weight(module)); }

  std::optional<nn::RmsNorm> head_norm(const std::string& module) const {
    if (!formats::family_of(config_).qk_norm) return std::nullopt;
    return norm(module);
  }

  std::optional<SandwichNorms> sandwich(const std::string& prefix) const {
    if (!formats::family_of(config_).sandwich_norms) return std::nullopt;
    return SandwichNorms{norm(prefix + "pre_feedforward_layernorm"),
                         norm(prefix + "post_feedforward_layernorm")};
  }

  nn::Attention attention(const std::string& prefix, std::int64_t index) const {
    const bool has_rotary =
        config_.rope_layers.empty() || config_.rope_layers.at(static_cast<std::size_t>(index));
    const std::int64_t window = formats::has_sliding_window(config_, index) ? *config_.sliding_window : 0;
    return {config_.num_attention_heads,
            config_.num_key_value_heads,
            config_.head_dim,
            linear(prefix + "q_proj"),
            linear(prefix + "k_proj"),
            linear(prefix + "v_proj"),
            linear(prefix + "o_proj"),
            window,
            has_rotary,
            config_.rotated_heads,
            head_norm(prefix + "q_norm"),
            head_norm(prefix + "k_norm"),
            formats::query_scale(config_),
            config_.attn_logit_softcapping};
  }

  nn::Mlp mlp(const std::string& prefix) const {
    return {linear(prefix + "gate_proj"), linear(prefix + "up_proj"), linear(prefix + "down_proj"),
            config_.hidden_act == "gelu_pytorch_tanh", config_.rotated_product};
  }

  const formats::ModelConfig& config_;
  const WeightProvider& provider_;
  ops::ComputeType compute_;
  std::unordered_set<std::string> expected_;
};

}  // namespace

WeightProvider float_weights(std::function<at::Tensor(const std::string& name)> tensor) {
  return {[tensor](const std::string& module) {
            return std::make_shared<quant::FloatWeight>(tensor(module + ".weight"));
          },
          tensor};
}

std::unique_ptr<Decoder> build_decoder(const formats::ModelConfig& config, const WeightProvider& provider,
                                       ops::ComputeType compute) {
  const Builder builder(config, provider, compute);
  auto embedding = provider.weight("model.embed_tokens");
  auto head = config.tie_word_embeddings ? embedding : provider.weight("lm_head");
  std::vector<std::unique_ptr<DecoderLayer>> layers;
  for (std::int64_t i = 0; i < config.num_hidden_layers; ++i) layers.push_back(builder.layer(i));
  return std::make_unique<Decoder>(
      config, DecoderParts{std::move(embedding), std::move(layers), builder.norm("model.norm"),
                           builder.linear("lm_head", head)});
}

}  // namespace lrqat::model
