// config.json <-> ModelConfig. Defaults are those of transformers' LlamaConfig; the sizes have none here,
// because a config without them is a damaged one.
#include "lrqat/formats/messages.h"
#include "lrqat/formats/model_config.h"

namespace lrqat::formats {
namespace {

std::optional<std::int64_t> optional_integer(const Json& json, const std::string& key,
                                             const std::string& where) {
  const auto it = json.find(key);
  if (it == json.end() || it->is_null()) return std::nullopt;
  if (!it->is_number_integer()) {
    fail(where, ": key \"", key, "\" is ", it->dump().substr(0, 60), ", expected a whole number");
  }
  return it->get<std::int64_t>();
}

std::int64_t integer(const Json& json, const std::string& key, const std::string& where) {
  const auto value = optional_integer(json, key, where);
  if (!value) fail(where, ": key \"", key, "\" is missing");
  return *value;
}

double number_or(const Json& json, const std::string& key, double fallback, const std::string& where) {
  const auto it = json.find(key);
  if (it == json.end() || it->is_null()) return fallback;
  if (!it->is_number())
    fail(where, ": key \"", key, "\" is ", it->dump().substr(0, 60), ", expected a number");
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
      fail(where, ": key \"", key, "\" holds ", value.dump().substr(0, 60), ", expected whole numbers");
    }
    values.push_back(value.get<std::int64_t>());
  }
  return values;
}

const Json* optional_object(const Json& json, const std::string& key, const std::string& where) {
  const auto it = json.find(key);
  if (it == json.end() || it->is_null()) return nullptr;
  if (!it->is_object())
    fail(where, ": key \"", key, "\" must be an object, found ", it->dump().substr(0, 60));
  return &*it;
}

void read_family(const Json& json, ModelConfig& config, const std::string& where) {
  const auto known = joined(model_families(), [](const ModelFamily& family) { return family.model_type; });
  const auto model_type = json_get<std::string>(json, "model_type", where);
  for (const ModelFamily& family : model_families()) {
    if (family.model_type != model_type) continue;
    config.model_type = family.model_type;
    config.architecture = family.architecture;
    const auto architectures = json_get_or<std::vector<std::string>>(json, "architectures", {}, where);
    if (!architectures.empty() && architectures[0] != family.architecture) {
      fail(where, ": architectures is ", quoted_name(architectures[0]), ", expected ",
           quoted_name(family.architecture), " for model_type ", quoted_name(model_type));
    }
    return;
  }
  fail(where, ": model_type ", quoted_name(model_type), " is not supported, known are ", known);
}

// Old spelling: rope_theta beside rope_scaling {"rope_type" or "type", …}; new spelling: rope_parameters
// holds all.
void read_rope(const Json& json, ModelConfig& config, const std::string& where) {
  const Json* parameters = optional_object(json, "rope_parameters", where);
  if (parameters == nullptr) parameters = optional_object(json, "rope_scaling", where);
  config.rope_theta = number_or(json, "rope_theta", config.rope_theta, where);
  if (parameters == nullptr) return;
  RopeScaling& scaling = config.rope_scaling;
  const std::string inside = where + ": rotary settings";
  const char* type_key = parameters->contains("rope_type") ? "rope_type" : "type";
  scaling.rope_type = json_get_or<std::string>(*parameters, type_key, "default", inside);
  config.rope_theta = number_or(*parameters, "rope_theta", config.rope_theta, inside);
  const double partial = number_or(*parameters, "partial_rotary_factor", 1.0, inside);
  if (partial != 1.0) fail(inside, ": partial_rotary_factor is ", partial, ", only 1 is supported");
  if (scaling.rope_type == "default") return;
  scaling.factor = json_get<double>(*parameters, "factor", inside);
  if (scaling.rope_type != "llama3") return;
  scaling.low_freq_factor = json_get<double>(*parameters, "low_freq_factor", inside);
  scaling.high_freq_factor = json_get<double>(*parameters, "high_freq_factor", inside);
  scaling.original_max_position_embeddings = integer(*parameters, "original_max_position_embeddings", inside);
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
  Json json{{"rope_theta", config.rope_theta}, {"rope_type", scaling.rope_type}};
  if (scaling.rope_type != "default") json["factor"] = scaling.factor;
  if (scaling.rope_type == "llama3") {
    json["low_freq_factor"] = scaling.low_freq_factor;
    json["high_freq_factor"] = scaling.high_freq_factor;
    json["original_max_position_embeddings"] = scaling.original_max_position_embeddings;
  }
  return json;
}

}  // namespace

ModelConfig config_from_json(const Json& json, const std::string& where) {
  if (!json.is_object()) fail(where, ": a model config must be a JSON object, found ", json.type_name());
  ModelConfig config;
  read_family(json, config, where);
  read_sizes(json, config, where);
  read_rope(json, config, where);
  config.rms_norm_eps = number_or(json, "rms_norm_eps", config.rms_norm_eps, where);
  config.attention_bias = json_get_or<bool>(json, "attention_bias", false, where);
  config.mlp_bias = json_get_or<bool>(json, "mlp_bias", false, where);
  config.tie_word_embeddings = json_get_or<bool>(json, "tie_word_embeddings", false, where);
  config.hidden_act = json_get_or<std::string>(json, "hidden_act", config.hidden_act, where);
  // absent: LlamaConfig's defaults; null: there is none
  config.bos_token_id = json.contains("bos_token_id") ? optional_integer(json, "bos_token_id", where) : 1;
  config.eos_token_id = json.contains("eos_token_id") ? integer_list(json, "eos_token_id", where)
                                                      : std::vector<std::int64_t>{2};
  config.pad_token_id = optional_integer(json, "pad_token_id", where);
  config.sliding_window = optional_integer(json, "sliding_window", where);
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
  json["bos_token_id"] = config.bos_token_id ? Json(*config.bos_token_id) : Json(nullptr);
  json["eos_token_id"] = nullptr;
  if (config.eos_token_id.size() == 1) json["eos_token_id"] = config.eos_token_id[0];
  if (config.eos_token_id.size() > 1) json["eos_token_id"] = config.eos_token_id;
  if (config.pad_token_id) json["pad_token_id"] = *config.pad_token_id;
  if (config.sliding_window) json["sliding_window"] = *config.sliding_window;
  return json;
}

}  // namespace lrqat::formats
