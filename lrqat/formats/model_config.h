// A model's shape and constants under Hugging Face's names, read from config.json or from GGUF metadata.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lrqat/base/json.h"
#include "lrqat/base/rope_scaling.h"
#include "lrqat/formats/gguf.h"

namespace lrqat::formats {

struct ModelConfig {
  std::string model_type = "llama";
  std::string architecture = "LlamaForCausalLM";
  std::int64_t hidden_size = 0;
  std::int64_t intermediate_size = 0;
  std::int64_t num_hidden_layers = 0;
  std::int64_t num_attention_heads = 0;
  std::int64_t num_key_value_heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t vocab_size = 0;
  std::int64_t max_position_embeddings = 2048;
  double rms_norm_eps = 1e-6;
  double rope_theta = 10000.0;
  double partial_rotary_factor = 1.0;  // the part of each head, from its beginning, that is rotated
  RopeScaling rope_scaling;
  bool attention_bias = false;  // on q, k, v, and o where the family has it there
  bool mlp_bias = false;        // on gate, up and down
  bool tie_word_embeddings = false;
  // Hadamard transforms that no file of other programs holds (model/rotations.h): of each head of queries and
  // keys after the rotary embedding, and of down_proj's input, whose weight has the inverse.
  bool rotated_heads = false, rotated_product = false;
  std::string hidden_act = "silu";
  std::optional<std::int64_t> bos_token_id;
  std::vector<std::int64_t> eos_token_id;  // empty: none; config.json may give one number or a list
  std::optional<std::int64_t> pad_token_id;
  std::optional<std::int64_t> sliding_window;  // a token sees so many, itself included; none: all before it
  std::vector<bool> rope_layers;               // the layers with a rotary embedding; empty: all
  std::vector<bool> sliding_layers;            // the layers that have the window; empty: all
  double rope_local_theta = 0;                 // of the layers with the window, unstretched; 0: as all
  double query_pre_attn_scalar = 0;            // scores are divided by its root; 0: by that of head_dim
  double attn_logit_softcapping = 0;           // c·tanh(score / c); 0: none
  double final_logit_softcapping = 0;

  bool operator==(const ModelConfig&) const = default;
};

// A model family: one row. Everything that differs between families and is data stands here.
struct ModelFamily {
  std::string_view model_type;         // config.json
  std::string_view architecture;       // config.json "architectures"
  std::string_view gguf_architecture;  // general.architecture
  bool interleaved_rotary_rows;        // llama.cpp stores q and k rows in interleaved rotary order
  bool qkv_bias = false;               // q, k and v always have biases, o never
  bool qk_norm = false;                // a norm of each head of q and k before the rotary embedding
  bool fused_projections = false;      // files have q, k, v in one matrix, and gate and up
  bool norm_offset = false;            // norms multiply by 1 + weight (GGUF files hold the sum)
  bool sandwich_norms = false;         // norms also behind attention and MLP
  bool scaled_embeddings = false;      // embeddings are multiplied by the root of hidden_size
  std::string_view hidden_act = "silu";
  bool tied = false;               // tie_word_embeddings where config.json does not say
  std::int64_t window_period = 0;  // each n-th layer has no window where config.json does not say which
};
std::span<const ModelFamily> model_families();
const ModelFamily& family_of(const ModelConfig& config);

// `where` names the source in messages. Both spellings of the rotary keys are read: rope_theta +
// rope_scaling, and transformers 5's rope_parameters.
ModelConfig config_from_json(const Json& json, const std::string& where);
ModelConfig config_from_gguf(const GgufFile& file);
bool has_sliding_window(const ModelConfig& config, std::int64_t layer);
// 1 / sqrt(query_pre_attn_scalar) as a multiple of the usual 1 / sqrt(head_dim).
double query_scale(const ModelConfig& config);
// SmolLM3: every layer but each `interval`-th one.
std::vector<bool> rope_layers_every(const ModelConfig& config, std::int64_t interval);
std::int64_t rotary_dimensions(const ModelConfig& config);  // of head_dim
// The factors that divide the inverse frequencies of Llama 3's rotary embedding, [head_dim / 2]: what
// llama.cpp stores as the tensor rope_freqs.weight.
std::vector<double> llama3_rope_divisors(const ModelConfig& config, const RopeScaling& scaling);
// What GGUF files say in a way of their own, for reader and writer: yarn's factor of cosines and sines
// without an attention_factor; Gemma's query_pre_attn_scalar as llama.cpp has it; the key of "dynamic", which
// llama.cpp has not.
double yarn_magnitude(double factor);
double gguf_query_scalar(const ModelConfig& config);
inline constexpr std::string_view kDynamicFactor = "lrqat.rope.dynamic_factor";
Json config_to_json(const ModelConfig& config);  // what config_from_json reads back
void validate_config(const ModelConfig& config, const std::string& where);  // Error naming the key

// The tensors that a model of this config has, under Hugging Face's names, in the order of the layers.
struct ExpectedTensor {
  std::string name;
  std::vector<std::int64_t> shape;

  bool operator==(const ExpectedTensor&) const = default;
};
std::vector<ExpectedTensor> expected_tensors(const ModelConfig& config);
std::vector<ExpectedTensor> expected_layer_tensors(const ModelConfig& config, std::int64_t layer);

}  // namespace lrqat::formats
