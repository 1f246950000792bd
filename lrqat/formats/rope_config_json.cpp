#include "lrqat/formats/rope_config_json.h"

#include <cmath>

#include "lrqat/base/error.h"
#include "lrqat/formats/json_keys.h"
#include "lrqat/formats/messages.h"

namespace lrqat::formats {
namespace {

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

}  // namespace

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

}  // namespace lrqat::formats
