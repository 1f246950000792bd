// A Llama-like decoder: token embedding, layers of attention and gated feed-forward with residual sums, final
// norm, head. Every matrix is a quant::WeightParametrization, so the float model, the one in training and the
// converted one are the same class. Names are Hugging Face's.
// B sequences, T tokens, H hidden size, V vocabulary.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lrqat/formats/model_config.h"
#include "lrqat/model/linear_group.h"
#include "lrqat/nn/attention.h"
#include "lrqat/nn/embedding.h"
#include "lrqat/nn/kv_cache.h"
#include "lrqat/nn/linear.h"
#include "lrqat/nn/logits.h"
#include "lrqat/nn/mlp.h"
#include "lrqat/nn/rms_norm.h"
#include "lrqat/nn/rotary_embedding.h"

namespace lrqat::model {

// Norms on both sides of the MLP; post_attention_layernorm is then behind the attention.
struct SandwichNorms {
  nn::RmsNorm pre_feedforward_layernorm;
  nn::RmsNorm post_feedforward_layernorm;
};

class DecoderLayer {
 public:
  DecoderLayer(nn::RmsNorm input_layernorm, nn::Attention self_attn, nn::RmsNorm post_attention_layernorm,
               nn::Mlp mlp, std::optional<SandwichNorms> sandwich = {});
  DecoderLayer(const DecoderLayer&) = delete;  // linear_groups() hands out addresses
  DecoderLayer& operator=(const DecoderLayer&) = delete;

  // hidden [B, T, H] float32 whose first token stands at `position`. Differentiable in hidden and in the
  // parameters of the linears. With a cache (generation only) the tokens in it come before.
  // down_product: as nn::Linear::forward's, of down_proj.
  at::Tensor forward(const at::Tensor& hidden, const nn::RotaryEmbedding& rotary, std::int64_t position,
                     nn::KvCacheLayer* cache, at::Tensor* down_product = nullptr) const;
  // Its two halves: forward is feed_forward(attend(…)).
  at::Tensor attend(const at::Tensor& hidden, const nn::RotaryEmbedding& rotary, std::int64_t position,
                    nn::KvCacheLayer* cache) const;
  at::Tensor feed_forward(const at::Tensor& attended, at::Tensor* down_product = nullptr) const;

  // The same for segments packed in one row, hidden [1, T, H]. Without gradients.
  at::Tensor forward_packed(const at::Tensor& hidden, const nn::RotaryEmbedding& rotary,
                            const nn::PackedRow& row, const nn::KvCacheLayer* prefix) const;

  // In the order of the forward pass: q, k, v; o; gate, up; down.
  std::vector<LinearGroup> linear_groups();
  std::vector<ConstLinearGroup> linear_groups() const;
  std::vector<nn::Linear*> linears();  // of all groups
  std::vector<const nn::Linear*> linears() const;
  // With full names: of the linears, then of static ranges that are trained, then norms that are.
  std::vector<quant::Parameter> parameters() const;
  // Where activations may be quantized, in the order of the forward pass, by the names that they have on disk
  // after the layer's ("self_attn.cached_keys").
  std::vector<std::pair<std::string, nn::ActivationPoint*>> activation_points();
  // Those that are.
  std::vector<std::shared_ptr<quant::ActivationQuantizer>> activation_quantizers() const;
  // Norms by their names within the layer ("input_layernorm.weight", "self_attn.q_norm.weight").
  std::vector<std::pair<std::string, nn::RmsNorm*>> norms();
  std::vector<std::pair<std::string, const nn::RmsNorm*>> norms() const;

  const nn::RmsNorm& input_layernorm() const { return input_layernorm_; }
  const nn::RmsNorm& post_attention_layernorm() const { return post_attention_layernorm_; }
  const nn::Attention& self_attn() const { return self_attn_; }
  const nn::Mlp& mlp() const { return mlp_; }
  const std::optional<SandwichNorms>& sandwich() const { return sandwich_; }

 private:
  const nn::RmsNorm& feed_forward_norm() const;  // the one in front of the MLP
  // The residual sum around the attention, whose output is `mixed`.
  at::Tensor add_attended(const at::Tensor& hidden, const at::Tensor& mixed) const;

  nn::RmsNorm input_layernorm_;
  nn::Attention self_attn_;
  nn::RmsNorm post_attention_layernorm_;
  nn::Mlp mlp_;
  std::optional<SandwichNorms> sandwich_;
  std::string prefix_;  // "model.layers.3.", of the linears' names

  template <typename Norm, typename Layer>
  static std::vector<std::pair<std::string, Norm*>> norms_of(Layer& layer);
  template <typename Linear, typename Layer>
  static std::vector<LinearGroupOf<Linear>> groups_of(Layer& layer);
};

using FloatTensors = std::map<std::string, at::Tensor>;

// What a decoder is made of (model/build.h fills it from files).
struct DecoderParts {
  std::shared_ptr<quant::WeightParametrization> embedding;  // [V, H]
  std::vector<std::unique_ptr<DecoderLayer>> layers;
  nn::RmsNorm norm;
  nn::Linear lm_head;  // a tied head has the embedding's weight
};

class Decoder {
 public:
  Decoder(formats::ModelConfig config, DecoderParts parts);

  const formats::ModelConfig& config() const { return config_; }
  std::int64_t num_layers() const { return static_cast<std::int64_t>(layers_.size()); }
  DecoderLayer& layer(std::int64_t index) { return *layers_.at(static_cast<std::size_t>(index)); }
  const DecoderLayer& layer(std::int64_t index) const { return *layers_.at(static_cast<std::size_t>(index)); }

  // The steps of forward(), for checkpointing by layer:
  at::Tensor embed(const at::Tensor& tokens) const;  // [B, T] int64 -> [B, T, H]
  at::Tensor layer_forward(std::int64_t index, const at::Tensor& hidden, std::int64_t position = 0,
                           nn::KvCacheLayer* cache = nullptr, at::Tensor* down_product = nullptr) const;
  at::Tensor final_norm(const at::Tensor& hidden) const;

  // tokens [B, T] -> hidden after the final norm [B, T, H]. With a cache, the tokens continue those in it.
  at::Tensor forward(const at::Tensor& tokens, nn::KvCache* cache = nullptr) const;
  // tokens [1, T] of several segments -> [1, T, H]; all of them continue the tokens in `prefix` (null: none).
  at::Tensor forward_packed(const at::Tensor& tokens, const nn::PackedRow& row,
                            const nn::KvCache* prefix = nullptr) const;
  // hidden [..., H] -> [..., V]. Callers with many tokens ask for a few hundred at a time.
  at::Tensor logits(const at::Tensor& hidden) const;
  std::int64_t logit_rows() const;  // a few hundred, as nn/logits.h says
  // hidden [n, H], the rows' targets [n] int64 on the CPU -> their log-probabilities (nn/logits.h).
  ops::TargetScores score_rows(const at::Tensor& hidden, const at::Tensor& targets) const;

  const nn::Linear& lm_head() const { return lm_head_; }
  nn::Linear& lm_head() { return lm_head_; }
  const nn::Embedding& embedding() const { return embedding_; }
  const nn::RmsNorm& norm() const { return norm_; }
  const nn::RotaryEmbedding& rotary(std::int64_t layer) const;
  nn::KvCache make_cache() const { return nn::KvCache(num_layers()); }
  at::Device device() const { return norm_.weight.device(); }

  std::vector<nn::Linear*> linears();  // the quantizable ones in model order; the head is not among them
  std::vector<const nn::Linear*> linears() const;
  nn::Linear* find_linear(std::string_view name);  // by name(); nullptr: no such linear

  // Float tensors that training or preparing made in place of the source's, float32, by their names: norms
  // ("model.norm.weight"), the embedding ("model.embed_tokens.weight"; a tied head is the same), the head.
  const FloatTensors& replaced() const { return replaced_; }
  // Puts such a tensor in; one that requires a gradient becomes a parameter. False: nothing has this name.
  bool replace(const std::string& name, const at::Tensor& value);
  // The present value of one, a float32 copy.
  at::Tensor float_tensor(const std::string& name);
  std::vector<std::string> norm_names() const;

  // Every trainable in model order, named "<linear>.lora_a", ...
  std::vector<quant::Parameter> parameters() const;

  // Quantizes activations from now on, in every forward pass alike. Static ranges have to be observed or set
  // (model/activations.h). The head's input stays in float, as the head does.
  void set_activations(const quant::ActivationOptions& options);
  // Takes over another decoder's, ranges included: of a model of the same shape.
  void share_activations(const Decoder& other);
  const quant::ActivationOptions& activations() const { return activations_; }
  std::vector<std::shared_ptr<quant::ActivationQuantizer>> activation_quantizers() const;  // in model order

  // Of all linears, the head included.
  void set_compute(ops::ComputeType compute);
  // What the weights keep in memory; file-mapped ones count as nothing.
  std::int64_t resident_bytes() const;

 private:
  formats::ModelConfig config_;
  nn::Embedding embedding_;
  std::vector<std::unique_ptr<DecoderLayer>> layers_;
  nn::RmsNorm norm_;
  nn::Linear lm_head_;
  nn::RotaryEmbedding rotary_;
  std::optional<nn::RotaryEmbedding> local_rotary_;  // of the layers with a window, where they have their own
  quant::ActivationOptions activations_;
  FloatTensors replaced_;

  nn::RmsNorm* find_norm(const std::string& name);
};

}  // namespace lrqat::model
