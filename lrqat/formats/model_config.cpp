#include "lrqat/formats/model_config.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "lrqat/formats/messages.h"

namespace lrqat::formats {
namespace {

constexpr std::array kFamilies = std::to_array<ModelFamily>({
    {"llama", "LlamaForCausalLM", "llama", true},
    {"mistral", "MistralForCausalLM", "llama", true},
    {.model_type = "qwen2",
     .architecture = "Qwen2ForCausalLM",
     .gguf_architecture = "qwen2",
     .interleaved_rotary_rows = false,
     .qkv_bias = true},
    {.model_type = "qwen3",
     .architecture = "Qwen3ForCausalLM",
     .gguf_architecture = "qwen3",
     .interleaved_rotary_rows = false,
     .qk_norm = true},
    {"smollm3", "SmolLM3ForCausalLM", "smollm3", true},
    {.model_type = "phi3",
     .architecture = "Phi3ForCausalLM",
     .gguf_architecture = "phi3",
     .interleaved_rotary_rows = false,
     .fused_projections = true},
    {.model_type = "gemma",
     .architecture = "GemmaForCausalLM",
     .gguf_architecture = "gemma",
     .interleaved_rotary_rows = false,
     .norm_offset = true,
     .scaled_embeddings = true,
     .hidden_act = "gelu_pytorch_tanh",
     .tied = true},
    {.model_type = "gemma2",
     .architecture = "Gemma2ForCausalLM",
     .gguf_architecture = "gemma2",
     .interleaved_rotary_rows = false,
     .norm_offset = true,
     .sandwich_norms = true,
     .scaled_embeddings = true,
     .hidden_act = "gelu_pytorch_tanh",
     .tied = true,
     .window_period = 2},
    {.model_type = "gemma3_text",
     .architecture = "Gemma3ForCausalLM",
     .gguf_architecture = "gemma3",
     .interleaved_rotary_rows = false,
     .qk_norm = true,
     .norm_offset = true,
     .sandwich_norms = true,
     .scaled_embeddings = true,
     .hidden_act = "gelu_pytorch_tanh",
     .tied = true,
     .window_period = 6},
});
constexpr std::array<std::string_view, 6> kRopeTypes{"default", "linear", "llama3",
                                                     "dynamic", "yarn",   "longrope"};

constexpr std::int64_t kMostLayers = 10'000;  // a damaged number must not make lists of 2^31 names

template <typename Known>
void check_known(const Known& known, std::string_view value, std::string_view key, const std::string& where) {
  for (const std::string_view name : known) {
    if (name == value) return;
  }
  fail(where, ": ", key, " is ", quoted_name(value), ", known are ",
       joined(known, [](auto name) { return name; }));
}

void check_positive(std::int64_t value, std::string_view key, const std::string& where) {
  constexpr std::int64_t kLargest = std::int64_t{1} << 31;  // keeps every product of two sizes within int64
  if (value <= 0 || value >= kLargest) {
    fail(where, ": ", key, " is ", value, ", expected a whole number from 1 to 2^31 - 1");
  }
}

void check_positive(double value, std::string_view key, const std::string& where) {
  if (!(value > 0) || value > 1e30) fail(where, ": ", key, " is ", value, ", expected a positive number");
}

void check_longrope(const ModelConfig& config, const std::string& where) {
  const RopeScaling& scaling = config.rope_scaling;
  check_positive(scaling.original_max_position_embeddings, "rope_scaling.original_max_position_embeddings",
                 where);
  const auto expected = static_cast<std::size_t>(rotary_dimensions(config) / 2);
  for (const auto* factors : {&scaling.short_factor, &scaling.long_factor}) {
    if (factors->size() != expected) {
      fail(where, ": short_factor and long_factor of longrope have ", scaling.short_factor.size(), " and ",
           scaling.long_factor.size(), " numbers, expected ", expected, ", half of the rotary dimensions");
    }
    for (const double factor : *factors)
      check_positive(factor, "rope_scaling.short_factor or long_factor", where);
  }
}

void check_rope(const ModelConfig& config, const std::string& where) {
  const RopeScaling& scaling = config.rope_scaling;
  check_positive(config.rope_theta, "rope_theta", where);
  check_known(kRopeTypes, scaling.rope_type, "rope_type", where);
  if (!(config.partial_rotary_factor > 0 && config.partial_rotary_factor <= 1) ||
      rotary_dimensions(config) % 2 != 0 || rotary_dimensions(config) == 0) {
    fail(where, ": partial_rotary_factor is ", config.partial_rotary_factor, " of head_dim ", config.head_dim,
         ", expected a factor from 0 to 1 that gives an even number");
  }
  if (scaling.rope_type == "default") return;
  check_positive(scaling.factor, "rope_scaling.factor", where);
  check_positive(scaling.attention_factor, "rope_scaling.attention_factor", where);
  if (scaling.rope_type == "longrope") check_longrope(config, where);
  if (scaling.rope_type == "yarn" || scaling.rope_type == "dynamic") {
    check_positive(scaling.original_max_position_embeddings, "rope_scaling.original_max_position_embeddings",
                   where);
  }
  if (scaling.rope_type != "llama3") return;
  check_positive(scaling.low_freq_factor, "rope_scaling.low_freq_factor", where);
  check_positive(scaling.original_max_position_embeddings, "rope_scaling.original_max_position_embeddings",
                 where);
  if (!(scaling.high_freq_factor > scaling.low_freq_factor)) {
    fail(where, ": rope_scaling.high_freq_factor is ", scaling.high_freq_factor,
         ", expected more than low_freq_factor ", scaling.low_freq_factor);
  }
}

void check_heads(const ModelConfig& config, const std::string& where) {
  if (config.num_attention_heads % config.num_key_value_heads != 0) {
    fail(where, ": num_attention_heads ", config.num_attention_heads,
         " must be a multiple of num_key_value_heads ", config.num_key_value_heads);
  }
  if (config.head_dim % 2 != 0) {
    fail(where, ": head_dim is ", config.head_dim,
         ", expected an even number (a rotary embedding rotates pairs)");
  }
}

void check_gemma(const ModelConfig& config, const std::string& where) {
  const auto check = [&](double value, std::string_view key) {
    if (value != 0) check_positive(value, key, where);
  };
  check(config.rope_local_theta, "rope_local_base_freq");
  check(config.query_pre_attn_scalar, "query_pre_attn_scalar");
  check(config.attn_logit_softcapping, "attn_logit_softcapping");
  check(config.final_logit_softcapping, "final_logit_softcapping");
}

void check_token(std::int64_t id, std::string_view key, const ModelConfig& config, const std::string& where) {
  if (id < 0 || id >= config.vocab_size) {
    fail(where, ": ", key, " is ", id, ", expected 0 to vocab_size - 1 = ", config.vocab_size - 1);
  }
}

}  // namespace

bool has_sliding_window(const ModelConfig& config, std::int64_t layer) {
  if (!config.sliding_window) return false;
  return config.sliding_layers.empty() || config.sliding_layers.at(static_cast<std::size_t>(layer));
}

double query_scale(const ModelConfig& config) {
  if (config.query_pre_attn_scalar == 0) return 1.0;
  return std::sqrt(static_cast<double>(config.head_dim) / config.query_pre_attn_scalar);
}

std::vector<bool> rope_layers_every(const ModelConfig& config, std::int64_t interval) {
  std::vector<bool> layers;
  for (std::int64_t i = 0; i < std::min(config.num_hidden_layers, kMostLayers); ++i) {
    layers.push_back((i + 1) % interval != 0);
  }
  return layers;
}

// transformers truncates the product.
std::int64_t rotary_dimensions(const ModelConfig& config) {
  return static_cast<std::int64_t>(static_cast<double>(config.head_dim) * config.partial_rotary_factor);
}

std::span<const ModelFamily> model_families() { return kFamilies; }

const ModelFamily& family_of(const ModelConfig& config) {
  for (const ModelFamily& family : kFamilies) {
    if (family.model_type == config.model_type) return family;
  }
  internal_error(__FILE__, __LINE__, "family_of", "no row for " + config.model_type);
}

void validate_config(const ModelConfig& config, const std::string& where) {
  check_positive(config.hidden_size, "hidden_size", where);
  check_positive(config.intermediate_size, "intermediate_size", where);
  check_positive(config.num_hidden_layers, "num_hidden_layers", where);
  if (config.num_hidden_layers > kMostLayers) {
    fail(where, ": num_hidden_layers is ", config.num_hidden_layers, ", expected at most ", kMostLayers);
  }
  check_positive(config.num_attention_heads, "num_attention_heads", where);
  check_positive(config.num_key_value_heads, "num_key_value_heads", where);
  check_positive(config.head_dim, "head_dim", where);
  check_positive(config.vocab_size, "vocab_size", where);
  check_positive(config.max_position_embeddings, "max_position_embeddings", where);
  check_positive(config.rms_norm_eps, "rms_norm_eps", where);
  if (config.sliding_window) check_positive(*config.sliding_window, "sliding_window", where);
  if (!config.rope_layers.empty() &&
      static_cast<std::int64_t>(config.rope_layers.size()) != config.num_hidden_layers) {
    fail(where, ": no_rope_layers has ", config.rope_layers.size(), " entries, expected num_hidden_layers ",
         config.num_hidden_layers);
  }
  if (!config.sliding_layers.empty() &&
      static_cast<std::int64_t>(config.sliding_layers.size()) != config.num_hidden_layers) {
    fail(where, ": layer_types has ", config.sliding_layers.size(), " entries, expected num_hidden_layers ",
         config.num_hidden_layers);
  }
  check_heads(config, where);
  check_rope(config, where);
  check_known(std::array{family_of(config).hidden_act}, config.hidden_act, "hidden_act", where);
  check_gemma(config, where);
  for (const std::int64_t id : config.eos_token_id) check_token(id, "eos_token_id", config, where);
  if (config.bos_token_id) check_token(*config.bos_token_id, "bos_token_id", config, where);
}

std::vector<ExpectedTensor> expected_layer_tensors(const ModelConfig& config, std::int64_t layer) {
  const std::string prefix = concat("model.layers.", layer, ".");
  const std::int64_t hidden = config.hidden_size;
  const std::int64_t q_rows = config.num_attention_heads * config.head_dim;
  const std::int64_t kv_rows = config.num_key_value_heads * config.head_dim;
  std::vector<ExpectedTensor> tensors;
  const auto linear = [&](const char* name, std::int64_t rows, std::int64_t cols, bool bias) {
    tensors.push_back({prefix + name + ".weight", {rows, cols}});
    if (bias) tensors.push_back({prefix + name + ".bias", {rows}});
  };
  tensors.push_back({prefix + "input_layernorm.weight", {hidden}});
  linear("self_attn.q_proj", q_rows, hidden, config.attention_bias);
  linear("self_attn.k_proj", kv_rows, hidden, config.attention_bias);
  linear("self_attn.v_proj", kv_rows, hidden, config.attention_bias);
  const ModelFamily& family = family_of(config);
  linear("self_attn.o_proj", hidden, q_rows, config.attention_bias && !family.qkv_bias);
  if (family.qk_norm) {
    tensors.push_back({prefix + "self_attn.q_norm.weight", {config.head_dim}});
    tensors.push_back({prefix + "self_attn.k_norm.weight", {config.head_dim}});
  }
  tensors.push_back({prefix + "post_attention_layernorm.weight", {hidden}});
  if (family.sandwich_norms) tensors.push_back({prefix + "pre_feedforward_layernorm.weight", {hidden}});
  linear("mlp.gate_proj", config.intermediate_size, hidden, config.mlp_bias);
  linear("mlp.up_proj", config.intermediate_size, hidden, config.mlp_bias);
  linear("mlp.down_proj", hidden, config.intermediate_size, config.mlp_bias);
  if (family.sandwich_norms) tensors.push_back({prefix + "post_feedforward_layernorm.weight", {hidden}});
  return tensors;
}

std::vector<ExpectedTensor> expected_tensors(const ModelConfig& config) {
  std::vector<ExpectedTensor> tensors{{"model.embed_tokens.weight", {config.vocab_size, config.hidden_size}}};
  for (std::int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    for (ExpectedTensor& tensor : expected_layer_tensors(config, layer)) tensors.push_back(std::move(tensor));
  }
  tensors.push_back({"model.norm.weight", {config.hidden_size}});
  if (!config.tie_word_embeddings) {
    tensors.push_back({"lm_head.weight", {config.vocab_size, config.hidden_size}});
  }
  return tensors;
}

}  // namespace lrqat::formats
