// config.json <-> ModelConfig. Defaults are those of transformers' LlamaConfig; the sizes have none here,
// because a config without them is a damaged one.
#include <algorithm>

#include "lrqat/base/error.h"
#include "lrqat/formats/json_keys.h"
#include "lrqat/formats/messages.h"
#include "lrqat/formats/model_config.h"
#include "lrqat/formats/rope_config_json.h"

namespace lrqat::formats {
namespace {

void refuse_experts(const Json& json, const std::string& model_type, const std::string& where) {
  bool experts = model_type.find("moe") != std::string::npos || model_type == "mixtral";
  for (const char* key : {"num_local_experts", "num_experts", "n_routed_experts"}) {
    experts = experts || optional_integer(json, key, where).value_or(0) > 0;
  }
  if (experts)
    fail(where, ": model_type ", quoted_name(model_type), ": mixtures of experts are not supported");
}

// Which layers have the window: layer_types where it is given, else Qwen's use_sliding_window and
// max_window_layers; Mistral and Phi-3 have it everywhere.
void read_sliding_window(const Json& json, ModelConfig& config, const std::string& where) {
  config.sliding_window = optional_integer(json, "sliding_window", where);
  // LlamaConfig and GemmaConfig have none
  if (config.model_type == "llama" || config.model_type == "gemma") config.sliding_window.reset();
  const bool asks =
      config.model_type == "qwen2" || config.model_type == "qwen3" || config.model_type == "smollm3";
  const std::int64_t period = family_of(config).window_period;
  if (period > 0 && !json.contains("sliding_window")) config.sliding_window = 4096;
  if ((!asks && period == 0) || !config.sliding_window) return;
  if (asks && !json_get_or<bool>(json, "use_sliding_window", false, where))
    return config.sliding_window.reset();
  const auto types = json_get_or<std::vector<std::string>>(json, "layer_types", {}, where);
  for (const std::string& type : types) {
    if (type != "sliding_attention" && type != "full_attention") {
      fail(where, ": layer_types holds ", quoted_name(type), ", known are full_attention, sliding_attention");
    }
    config.sliding_layers.push_back(type == "sliding_attention");
  }
  if (!types.empty()) return;
  if (period > 0) {
    const auto given = optional_integer(json, "sliding_window_pattern", where).value_or(period);
    if (given <= 0) fail(where, ": sliding_window_pattern is ", given, ", expected a positive number");
    config.sliding_layers = rope_layers_every(config, given);
    return;
  }
  if (config.model_type == "smollm3") {
    for (const bool with : config.rope_layers) config.sliding_layers.push_back(!with);
    return;
  }
  const std::int64_t first = optional_integer(json, "max_window_layers", where).value_or(28);
  constexpr std::int64_t kMostLayers = 10'000;  // the check of the number itself comes later
  for (std::int64_t i = 0; i < std::min(config.num_hidden_layers, kMostLayers); ++i) {
    config.sliding_layers.push_back(i >= first);
  }
}

// Soft-capping and the divisor of scores, which Gemma 2 and 3 have; null: none.
void read_gemma(const Json& json, ModelConfig& config, const std::string& where) {
  if (!family_of(config).sandwich_norms) return;
  const auto number = [&](const char* key, double otherwise) {
    return json.contains(key) ? number_or(json, key, 0.0, where) : otherwise;
  };
  const bool second = config.model_type == "gemma2";
  config.query_pre_attn_scalar = number("query_pre_attn_scalar", 256.0);
  config.attn_logit_softcapping = number("attn_logit_softcapping", second ? 50.0 : 0.0);
  config.final_logit_softcapping = number("final_logit_softcapping", second ? 30.0 : 0.0);
  if (json_get_or<bool>(json, "use_bidirectional_attention", false, where)) {
    fail(where, ": use_bidirectional_attention is not supported");
  }
}

// SmolLM3's layers without a rotary embedding: a list (1: with), or every n-th one.
void read_rope_layers(const Json& json, ModelConfig& config, const std::string& where) {
  if (config.model_type != "smollm3") return;
  for (const std::int64_t with : integer_list(json, "no_rope_layers", where)) {
    config.rope_layers.push_back(with != 0);
  }
  if (!config.rope_layers.empty()) return;
  const std::int64_t interval = optional_integer(json, "no_rope_layer_interval", where).value_or(4);
  if (interval <= 0) fail(where, ": no_rope_layer_interval is ", interval, ", expected a positive number");
  config.rope_layers = rope_layers_every(config, interval);
}

// The first files of LLaMA say "LLaMAForCausalLM".
bool same_letters(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [&](char x, char y) { return lower(x) == lower(y); });
}

void read_family(const Json& json, ModelConfig& config, const std::string& where) {
  const auto known = joined(model_families(), [](const ModelFamily& family) { return family.model_type; });
  const auto model_type = json_get<std::string>(json, "model_type", where);
  refuse_experts(json, model_type, where);
  for (const ModelFamily& family : model_families()) {
    if (family.model_type != model_type) continue;
    config.model_type = family.model_type;
    config.architecture = family.architecture;
    const auto architectures = json_get_or<std::vector<std::string>>(json, "architectures", {}, where);
    if (!architectures.empty() && !same_letters(architectures[0], family.architecture)) {
      fail(where, ": architectures is ", quoted_name(architectures[0]), ", expected ",
           quoted_name(family.architecture), " for model_type ", quoted_name(model_type));
    }
    return;
  }
  fail(where, ": model_type ", quoted_name(model_type), " is not supported, known are ", known);
}

void read_sizes(const Json& json, ModelConfig& config, const std::string& where) {
  config.hidden_size = integer(json, "hidden_size", where);
  config.intermediate_size = integer(json, "intermediate_size", where);
  config.num_hidden_layers = integer(json, "num_hidden_layers", where);
  config.num_attention_heads = integer(json, "num_attention_heads", where);
  config.vocab_size = integer(json, "vocab_size", where);
  config.num_key_value_heads =
      optional_integer(json, "num_key_value_heads", where).value_or(config.num_attention_heads);
  const auto head_dim = optional_integer(json, "head_dim", where);
  if (!head_dim &&
      (config.num_attention_heads <= 0 || config.hidden_size % config.num_attention_heads != 0)) {
    fail(where, ": hidden_size ", config.hidden_size, " must be a multiple of num_attention_heads ",
         config.num_attention_heads, " where head_dim is not given");
  }
  config.head_dim = head_dim ? *head_dim : config.hidden_size / config.num_attention_heads;
  config.max_position_embeddings =
      optional_integer(json, "max_position_embeddings", where).value_or(config.max_position_embeddings);
}

Json window_layers_to_json(const ModelConfig& config) {
  Json types = Json::array();
  for (std::int64_t i = 0; i < config.num_hidden_layers; ++i) {
    types.push_back(has_sliding_window(config, i) ? "sliding_attention" : "full_attention");
  }
  return types;
}

// Gemma's first files say "gelu" and mean its approximation by tanh, as the newer key does.
std::string activation(const Json& json, const ModelConfig& config, const std::string& where) {
  const std::string usual(family_of(config).hidden_act);
  const char* key = json.contains("hidden_activation") ? "hidden_activation" : "hidden_act";
  const auto found = json_get_or<std::string>(json, key, usual, where);
  if (found == "swish") return "silu";  // the same function
  return usual == "gelu_pytorch_tanh" && found == "gelu" ? usual : found;
}

}  // namespace

ModelConfig config_from_json(const Json& json, const std::string& where) {
  if (!json.is_object()) fail(where, ": a model config must be a JSON object, found ", json.type_name());
  ModelConfig config;
  read_family(json, config, where);
  read_sizes(json, config, where);
  read_rope(json, config, where);
  config.rms_norm_eps = number_or(json, "rms_norm_eps", config.rms_norm_eps, where);
  config.attention_bias =
      json_get_or<bool>(json, "attention_bias", false, where) || family_of(config).qkv_bias;
  config.mlp_bias = json_get_or<bool>(json, "mlp_bias", false, where);
  config.tie_word_embeddings = json_get_or<bool>(json, "tie_word_embeddings", family_of(config).tied, where);
  config.hidden_act = activation(json, config, where);
  // absent: LlamaConfig's defaults; null: there is none
  config.bos_token_id = json.contains("bos_token_id") ? optional_integer(json, "bos_token_id", where) : 1;
  config.eos_token_id = json.contains("eos_token_id") ? integer_list(json, "eos_token_id", where)
                                                      : std::vector<std::int64_t>{2};
  config.pad_token_id = optional_integer(json, "pad_token_id", where);
  read_rope_layers(json, config, where);
  read_sliding_window(json, config, where);
  read_gemma(json, config, where);
  validate_config(config, where);
  return config;
}

Json config_to_json(const ModelConfig& config) {
  Json json{{"model_type", config.model_type},
            {"architectures", {config.architecture}},
            {"hidden_size", config.hidden_size},
            {"intermediate_size", config.intermediate_size},
            {"num_hidden_layers", config.num_hidden_layers},
            {"num_attention_heads", config.num_attention_heads},
            {"num_key_value_heads", config.num_key_value_heads},
            {"head_dim", config.head_dim},
            {"vocab_size", config.vocab_size},
            {"max_position_embeddings", config.max_position_embeddings},
            {"rms_norm_eps", config.rms_norm_eps},
            {"attention_bias", config.attention_bias},
            {"mlp_bias", config.mlp_bias},
            {"tie_word_embeddings", config.tie_word_embeddings},
            {"hidden_act", config.hidden_act}};
  // Both spellings, so that transformers 4 and 5 read the same thing.
  json["rope_parameters"] = rope_to_json(config);
  json["rope_theta"] = config.rope_theta;
  if (config.rope_scaling.rope_type != "default") {
    json["rope_scaling"] = rope_to_json(config);
    json["rope_scaling"].erase("rope_theta");
  }
  if (config.model_type == "gemma3_text") {
    json["rope_parameters"] = {
        {"full_attention", rope_to_json(config)},
        {"sliding_attention", {{"rope_type", "default"}, {"rope_theta", config.rope_local_theta}}}};
    json["rope_local_base_freq"] = config.rope_local_theta;
  }
  if (family_of(config).sandwich_norms) {
    const auto or_null = [](double value) { return value == 0 ? Json(nullptr) : Json(value); };
    json["query_pre_attn_scalar"] = config.query_pre_attn_scalar == 0 ? static_cast<double>(config.head_dim)
                                                                      : config.query_pre_attn_scalar;
    json["attn_logit_softcapping"] = or_null(config.attn_logit_softcapping);
    json["final_logit_softcapping"] = or_null(config.final_logit_softcapping);
    json["hidden_activation"] = config.hidden_act;
  }
  json["bos_token_id"] = config.bos_token_id ? Json(*config.bos_token_id) : Json(nullptr);
  json["eos_token_id"] = nullptr;
  if (config.eos_token_id.size() == 1) json["eos_token_id"] = config.eos_token_id[0];
  if (config.eos_token_id.size() > 1) json["eos_token_id"] = config.eos_token_id;
  if (config.pad_token_id) json["pad_token_id"] = *config.pad_token_id;
  // null says that there is none: families have defaults of their own.
  if (config.model_type != "llama") json["sliding_window"] = nullptr;
  if (config.sliding_window) json["sliding_window"] = *config.sliding_window;
  if (config.model_type.starts_with("qwen") || config.model_type == "smollm3")
    json["use_sliding_window"] = config.sliding_window.has_value();
  for (const bool with : config.rope_layers) json["no_rope_layers"].push_back(with ? 1 : 0);
  if (!config.sliding_layers.empty()) json["layer_types"] = window_layers_to_json(config);
  if (config.rope_scaling.rope_type == "longrope") {
    json["original_max_position_embeddings"] = config.rope_scaling.original_max_position_embeddings;
  }
  return json;
}

}  // namespace lrqat::formats
