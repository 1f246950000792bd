// config.json <-> ModelConfig. Defaults are those of transformers' LlamaConfig; the sizes have none here,
// because a config without them is a damaged one.
#include <algorithm>
#include <cmath>

#include "lrqat/formats/messages.h"
#include "lrqat/formats/model_config.h"

namespace lrqat::formats {
namespace {

std::optional<std::int64_t> optional_integer(const Json& json, const std::string& key,
                                             const std::string& where) {
  const auto it = json.find(key);
  if (it == json.end() || it->is_null()) return std::nullopt;
  const auto number = it->is_number_integer() ? detail::whole_number<std::int64_t>(*it) : std::nullopt;
  if (!number) fail(where, ": key \"", key, "\" is ", json_excerpt(*it), ", expected a whole number");
  return number;
}

std::int64_t integer(const Json& json, const std::string& key, const std::string& where) {
  const auto value = optional_integer(json, key, where);
  if (!value) fail(where, ": key \"", key, "\" is missing");
  return *value;
}

double number_or(const Json& json, const std::string& key, double fallback, const std::string& where) {
  const auto it = json.find(key);
  if (it == json.end() || it->is_null()) return fallback;
  if (!it->is_number()) fail(where, ": key \"", key, "\" is ", json_excerpt(*it), ", expected a number");
  check_json_value(*it, "key \"" + key + "\"", where);
  return it->get<double>();
}

// A number, a list of numbers, or nothing.
std::vector<std::int64_t> integer_list(const Json& json, const std::string& key, const std::string& where) {
  const auto it = json.find(key);
  if (it == json.end() || it->is_null()) return {};
  if (!it->is_array()) return {integer(json, key, where)};
  std::vector<std::int64_t> values;
  for (const Json& value : *it) {
    if (!value.is_number_integer()) {
      fail(where, ": key \"", key, "\" holds ", json_excerpt(value), ", expected whole numbers");
    }
    values.push_back(value.get<std::int64_t>());
  }
  return values;
}

const Json* optional_object(const Json& json, const std::string& key, const std::string& where) {
  const auto it = json.find(key);
  if (it == json.end() || it->is_null()) return nullptr;
  if (!it->is_object()) fail(where, ": key \"", key, "\" must be an object, found ", json_excerpt(*it));
  return &*it;
}

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

std::vector<double> numbers(const Json& json, const std::string& key, const std::string& where) {
  return json_get<std::vector<double>>(json, key, where);
}

// transformers' get_mscale and its use in _compute_yarn_parameters.
double yarn_attention_factor(const Json& parameters, double factor, const std::string& where) {
  const auto mscale = [&](double weight) {
    return factor <= 1 ? 1.0 : 0.1 * weight * std::log(factor) + 1.0;
  };
  const double numerator = number_or(parameters, "mscale", 0.0, where);
  const double denominator = number_or(parameters, "mscale_all_dim", 0.0, where);
  const double inferred =
      numerator != 0 && denominator != 0 ? mscale(numerator) / mscale(denominator) : mscale(1.0);
  return number_or(parameters, "attention_factor", inferred, where);
}

// transformers' _compute_longrope_parameters.
double longrope_attention_factor(const Json& parameters, const RopeScaling& scaling,
                                 const std::string& where) {
  const auto original = static_cast<double>(scaling.original_max_position_embeddings);
  const double inferred =
      scaling.factor <= 1 ? 1.0 : std::sqrt(1.0 + std::log(scaling.factor) / std::log(original));
  return number_or(parameters, "attention_factor", inferred, where);
}

// What belongs to the rope_type; `json` is the whole config, where some writers keep the original context.
void read_scaling(const Json& parameters, const Json& json, ModelConfig& config, const std::string& where) {
  RopeScaling& scaling = config.rope_scaling;
  const std::string& type = scaling.rope_type;
  const char* original_key = "original_max_position_embeddings";
  const std::int64_t longest = config.max_position_embeddings;
  if (type == "dynamic") scaling.original_max_position_embeddings = longest;
  if (type == "yarn" || type == "longrope") {
    const auto beside = optional_integer(json, original_key, where);
    scaling.original_max_position_embeddings =
        beside ? *beside : optional_integer(parameters, original_key, where).value_or(longest);
  }
  if (type == "longrope") {
    const auto original = static_cast<double>(scaling.original_max_position_embeddings);
    scaling.factor = number_or(parameters, "factor", static_cast<double>(longest) / original, where);
    scaling.short_factor = numbers(parameters, "short_factor", where);
    scaling.long_factor = numbers(parameters, "long_factor", where);
    scaling.attention_factor = longrope_attention_factor(parameters, scaling, where);
    return;
  }
  scaling.factor = json_get<double>(parameters, "factor", where);
  if (type == "yarn") {
    scaling.attention_factor = yarn_attention_factor(parameters, scaling.factor, where);
    scaling.beta_fast = number_or(parameters, "beta_fast", 32.0, where);
    scaling.beta_slow = number_or(parameters, "beta_slow", 1.0, where);
    scaling.truncate = json_get_or<bool>(parameters, "truncate", true, where);
  }
  if (type != "llama3") return;
  scaling.low_freq_factor = json_get<double>(parameters, "low_freq_factor", where);
  scaling.high_freq_factor = json_get<double>(parameters, "high_freq_factor", where);
  scaling.original_max_position_embeddings = integer(parameters, original_key, where);
}

// Gemma 3: layers with the window have a rotary embedding of their own. Its settings stand beside those of
// the other layers, by layer type, or as rope_local_base_freq; returns those of the other layers.
const Json* read_local_rope(const Json& json, const Json* parameters, ModelConfig& config,
                            const std::string& where) {
  config.rope_theta = 1e6;
  config.rope_local_theta = number_or(json, "rope_local_base_freq", 1e4, where);
  if (parameters == nullptr || !parameters->contains("full_attention")) return parameters;
  if (const Json* local = optional_object(*parameters, "sliding_attention", where)) {
    const auto type = json_get_or<std::string>(*local, "rope_type", "default", where);
    if (type != "default")
      fail(where, ": rope_type ", quoted_name(type), " of sliding_attention is not supported, default is");
    config.rope_local_theta = number_or(*local, "rope_theta", config.rope_local_theta, where);
  }
  return optional_object(*parameters, "full_attention", where);
}

// Old spelling: rope_theta beside rope_scaling {"rope_type" or "type", …}; new spelling: rope_parameters
// holds all.
void read_rope(const Json& json, ModelConfig& config, const std::string& where) {
  const Json* parameters = optional_object(json, "rope_parameters", where);
  if (parameters == nullptr) parameters = optional_object(json, "rope_scaling", where);
  if (config.model_type == "gemma3_text") parameters = read_local_rope(json, parameters, config, where);
  config.rope_theta = number_or(json, "rope_theta", config.rope_theta, where);
  config.partial_rotary_factor = number_or(json, "partial_rotary_factor", 1.0, where);
  if (parameters == nullptr) return;
  const std::string inside = where + ": rotary settings";
  RopeScaling& scaling = config.rope_scaling;
  const char* type_key = parameters->contains("rope_type") ? "rope_type" : "type";
  scaling.rope_type = json_get_or<std::string>(*parameters, type_key, "default", inside);
  if (scaling.rope_type == "su") scaling.rope_type = "longrope";  // as early Phi-3 called it
  config.rope_theta = number_or(*parameters, "rope_theta", config.rope_theta, inside);
  config.partial_rotary_factor =
      number_or(*parameters, "partial_rotary_factor", config.partial_rotary_factor, inside);
  if (scaling.rope_type == "default") return;
  read_scaling(*parameters, json, config, inside);
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

Json rope_to_json(const ModelConfig& config) {
  const RopeScaling& scaling = config.rope_scaling;
  const std::string& type = scaling.rope_type;
  Json json{{"rope_theta", config.rope_theta}, {"rope_type", type}};
  if (config.partial_rotary_factor != 1.0) json["partial_rotary_factor"] = config.partial_rotary_factor;
  if (type != "default") json["factor"] = scaling.factor;
  if (type == "llama3") {
    json["low_freq_factor"] = scaling.low_freq_factor;
    json["high_freq_factor"] = scaling.high_freq_factor;
  }
  if (type == "yarn") {
    json["beta_fast"] = scaling.beta_fast;
    json["beta_slow"] = scaling.beta_slow;
    json["truncate"] = scaling.truncate;
  }
  if (type == "longrope") {
    json["short_factor"] = scaling.short_factor;
    json["long_factor"] = scaling.long_factor;
  }
  if (type == "yarn" || type == "longrope") json["attention_factor"] = scaling.attention_factor;
  if (type == "llama3" || type == "yarn" || type == "longrope") {
    json["original_max_position_embeddings"] = scaling.original_max_position_embeddings;
  }
  return json;
}

Json window_layers_to_json(const ModelConfig& config) {
  Json types = Json::array();
  for (std::int64_t i = 0; i < config.num_hidden_layers; ++i) {
    types.push_back(has_sliding_window(config, i) ? "sliding_attention" : "full_attention");
  }
  return types;
}

}  // namespace

namespace {

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
