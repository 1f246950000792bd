#include "lrqat/model/packed_config.h"

#include <algorithm>

#include "lrqat/base/error.h"
#include "lrqat/base/user_text.h"
#include "lrqat/formats/checkpoint.h"
#include "lrqat/text/regex.h"

namespace lrqat::model {
namespace {

namespace fs = std::filesystem;

constexpr const char* kKey = "quantization_config";

bool is_set(const Json& json, const char* key) {
  const auto found = json.find(key);
  return found != json.end() && !found->is_null();
}

// Older writers leave the method out; then the keys that only one of them has tell.
std::string quant_method(const Json& config) {
  const auto found = config.find(kKey);
  if (found == config.end() || !found->is_object()) return {};
  const auto method = found->find("quant_method");
  if (method != found->end()) return method->is_string() ? method->get<std::string>() : std::string();
  if (is_set(*found, "w_bit") || is_set(*found, "zero_point")) return "awq";
  return is_set(*found, "desc_act") ? "gptq" : "";
}

// ---- compressed-tensors

PackedScheme scheme_from_weights(const Json& weights, const std::string& where) {
  PackedScheme scheme;
  scheme.num_bits = json_get<int>(weights, "num_bits", where);
  scheme.symmetric = json_get_or<bool>(weights, "symmetric", true, where);
  const auto type = json_get_or<std::string>(weights, "type", "int", where);
  const auto strategy = json_get<std::string>(weights, "strategy", where);
  if (type != "int") fail(where, ": weights of type ", quote(type), " are not supported: int is");
  if (strategy == "group") {
    scheme.group_size = json_get<std::int64_t>(weights, "group_size", where);
    if (scheme.group_size <= 0)
      fail(where, ": group_size is ", scheme.group_size, ", expected a positive number");
  } else if (strategy != "channel") {
    fail(where, ": strategy ", quote(strategy), " is not supported: channel and group are");
  }
  if (is_set(weights, "actorder") && weights["actorder"] != "static" && weights["actorder"] != "weight") {
    fail(where, ": actorder ", json_excerpt(weights["actorder"]), " scatters groups and is not supported");
  }
  return scheme;
}

PackedConfig compressed_config(const Json& json, const std::string& where) {
  const auto format = json_get<std::string>(json, "format", where);
  if (format != "pack-quantized") {
    fail(where, ": format ", quote(format), " of compressed-tensors is not supported: pack-quantized is");
  }
  PackedConfig config{"compressed-tensors", {}};
  const Json groups = json_get<Json>(json, "config_groups", where);
  for (const auto& [name, group] : groups.items()) {
    const std::string inside = concat(where, ": config_groups.", name);
    if (is_set(group, "input_activations") || is_set(group, "output_activations")) {
      fail(inside, ": quantized activations are not supported");
    }
    config.groups.push_back({scheme_from_weights(json_get<Json>(group, "weights", inside), inside),
                             json_get<std::vector<std::string>>(group, "targets", inside)});
  }
  return config;
}

Json compressed_to_json(const PackedConfig& config, const std::vector<std::string>& skipped) {
  Json groups = Json::object();
  for (std::size_t i = 0; i < config.groups.size(); ++i) {
    const PackedScheme& scheme = config.groups[i].scheme;
    Json weights{{"num_bits", scheme.num_bits},   {"type", "int"},
                 {"symmetric", scheme.symmetric}, {"strategy", scheme.group_size == -1 ? "channel" : "group"},
                 {"group_size", nullptr},         {"dynamic", false},
                 {"observer", "minmax"}};
    if (scheme.group_size != -1) weights["group_size"] = scheme.group_size;
    groups[concat("group_", i)] = {{"targets", config.groups[i].targets},
                                   {"weights", weights},
                                   {"input_activations", nullptr},
                                   {"output_activations", nullptr},
                                   {"format", "pack-quantized"}};
  }
  std::vector<std::string> ignore = skipped;
  ignore.emplace_back("lm_head");
  return {{"quant_method", "compressed-tensors"},
          {"format", "pack-quantized"},
          {"quantization_status", "compressed"},
          {"global_compression_ratio", nullptr},
          {"kv_cache_scheme", nullptr},
          {"config_groups", groups},
          {"ignore", ignore}};
}

// ---- GPTQ and AWQ: one width and group size for all

// -1 is one scale a row; AutoAWQ and older files may call it 0 or leave it out.
std::int64_t group_size(const Json& json, const std::string& where) {
  const char* key = is_set(json, "group_size") ? "group_size" : "q_group_size";
  const auto size = json_get_or<std::int64_t>(json, key, -1, where);
  if (size != -1 && size <= 0) fail(where, ": group_size is ", size, ", expected -1 or a positive number");
  return size;
}

int bits_of(const Json& json, const std::string& where) {
  return json_get<int>(json, is_set(json, "w_bit") ? "w_bit" : "bits", where);
}

PackedScheme gptq_scheme(const Json& json, const std::string& where) {
  return {bits_of(json, where), group_size(json, where), json_get_or<bool>(json, "sym", true, where),
          json_get_or<bool>(json, "desc_act", false, where)};
}

// Linears with a scheme of their own: what `own` says goes before what is said for all. Those that it leaves
// in 16 bits have no integers that ask for a scheme.
void add_own_scheme(const std::string& target, const Json& own, Json all, const std::string& where,
                    PackedConfig& config) {
  if (!own.is_object()) fail(where, ": what is said of ", quote(target), " must be an object");
  all.update(own);
  if (bits_of(all, where) < 16) config.groups.push_back({gptq_scheme(all, where), {target}});
}

// "dynamic" of gptqmodel: "+:PATTERN" or a pattern alone has its own scheme, "-:PATTERN" is left out.
void add_dynamic(const Json& json, const std::string& where, PackedConfig& config) {
  if (!is_set(json, "dynamic")) return;
  const Json dynamic = json_get<Json>(json, "dynamic", where);
  for (const auto& [pattern, own] : dynamic.items()) {
    if (pattern.starts_with("-:")) continue;
    add_own_scheme("re:" + (pattern.starts_with("+:") ? pattern.substr(2) : pattern), own, json,
                   where + ": dynamic", config);
  }
}

PackedConfig gptq_config(const Json& json, const std::string& where) {
  const char* key = is_set(json, "checkpoint_format") ? "checkpoint_format" : "format";
  const auto version = json_get_or<std::string>(json, key, "gptq", where);
  if (version != "gptq" && version != "gptq_v2") {
    fail(where, ": ", key, " ", quote(version), " is not supported: gptq and gptq_v2 are");
  }
  PackedConfig config{version == "gptq" ? "gptq" : "gptq-v2", {}};
  add_dynamic(json, where, config);
  config.groups.push_back({gptq_scheme(json, where), {}});
  return config;
}

PackedConfig awq_config(const Json& json, const std::string& where) {
  const char* key = is_set(json, "version") ? "version" : "format";
  const auto version = json_get_or<std::string>(json, key, "gemm", where);
  if (version != "gemm" && version != "GEMM") {
    fail(where, ": ", key, " ", quote(version), " of AWQ is not supported: gemm is");
  }
  const PackedScheme scheme{bits_of(json, where), group_size(json, where),
                            !json_get_or<bool>(json, "zero_point", true, where)};
  return {"awq", {{scheme, {}}}};
}

// AutoRound packs as GPTQ (v1: "auto_round:auto_gptq"; with zero points as they are: "auto_round") or as AWQ.
PackedConfig auto_round_config(const Json& json, const std::string& where) {
  const char* key = is_set(json, "packing_format") ? "packing_format" : "backend";
  const auto packing = json_get_or<std::string>(json, key, "auto_round:auto_gptq", where);
  const auto type = json_get_or<std::string>(json, "data_type", "int", where);
  const auto activation_bits = json_get_or<int>(json, "act_bits", 16, where);
  if (type != "int" || activation_bits < 16) {
    fail(where, ": data_type ", quote(type), " with act_bits ", activation_bits,
         " is not supported: int with activations in 16 bits is");
  }
  const bool awq = packing.find("awq") != std::string::npos, gptq = packing.find("gptq") != std::string::npos;
  if (!awq && !gptq && packing.find("llm_compressor") != std::string::npos) {
    fail(where, ": ", key, " ", quote(packing), " is not supported: auto_round, auto_gptq and auto_awq are");
  }
  PackedConfig config{awq ? "awq" : gptq ? "gptq" : "gptq-v2", {}};
  if (is_set(json, "extra_config")) {
    const Json extra = json_get<Json>(json, "extra_config", where);
    for (const auto& [name, own] : extra.items()) {
      const bool pattern = name.find_first_of("*+?[]()|\\^$") != std::string::npos;
      add_own_scheme(pattern ? "re:" + name : name, own, json, where + ": extra_config", config);
    }
  }
  config.groups.push_back({gptq_scheme(json, where), {}});
  return config;
}

Json gptq_to_json(const PackedConfig& config, const std::vector<std::string>& skipped) {
  const PackedScheme& scheme = config.groups.at(0).scheme;
  Json json{{"quant_method", "gptq"},  {"checkpoint_format", config.layout == "gptq" ? "gptq" : "gptq_v2"},
            {"bits", scheme.num_bits}, {"group_size", scheme.group_size},
            {"sym", scheme.symmetric}, {"desc_act", false},
            {"lm_head", false},        {"pack_dtype", "int32"}};
  for (const std::string& name : skipped) {
    std::string pattern;  // gptqmodel: "-:" and a pattern leaves modules out
    for (const char letter : name) pattern += letter == '.' ? "\\." : std::string(1, letter);
    json["dynamic"]["-:^" + pattern + "$"] = Json::object();
  }
  return json;
}

Json awq_to_json(const PackedConfig& config, const std::vector<std::string>& skipped) {
  const PackedScheme& scheme = config.groups.at(0).scheme;
  Json json{{"quant_method", "awq"}, {"bits", scheme.num_bits}, {"group_size", scheme.group_size},
            {"version", "gemm"},     {"zero_point", true},      {"modules_to_not_convert", nullptr}};
  if (!skipped.empty()) json["modules_to_not_convert"] = skipped;
  return json;
}

void check_widths(const PackedConfig& config, const std::string& where) {
  for (const PackedGroup& group : config.groups) {
    const int bits = group.scheme.num_bits;
    const bool known = config.layout == "awq" ? bits == 4 : bits >= 2 && bits <= 8;
    if (!known) fail(where, ": ", bits, "-bit weights of ", config.layout, " are not supported");
  }
  if (config.groups.empty()) fail(where, ": no group of weights");
}

struct Method {
  const char* name;  // quant_method
  PackedConfig (*read)(const Json&, const std::string&);
};
constexpr Method kMethods[] = {{"compressed-tensors", compressed_config},
                               {"gptq", gptq_config},
                               {"awq", awq_config},
                               {"auto-round", auto_round_config},
                               {"intel/auto-round", auto_round_config}};

const Method* find_method(const std::string& name) {
  const auto* found = std::find_if(std::begin(kMethods), std::end(kMethods),
                                   [&](const Method& method) { return method.name == name; });
  return found == std::end(kMethods) ? nullptr : found;
}

// As compressed-tensors matches: a pattern from the name's beginning, the name, or the class of the module.
bool matches(const std::string& target, const std::string& module) {
  if (target.starts_with("re:"))
    return text::Regex("\\A(?:" + target.substr(3) + ")", kKey).find(module, 0).has_value();
  return target == module || target == "Linear";
}

}  // namespace

const PackedScheme& PackedConfig::scheme_of(const std::string& module, const std::string& where) const {
  for (const PackedGroup& group : groups) {
    if (group.targets.empty()) return group.scheme;
    for (const std::string& target : group.targets) {
      if (matches(target, module)) return group.scheme;
    }
  }
  fail(where, ": holds integers of ", quote(module), ", but no group of quantization_config is for it");
}

std::optional<PackedConfig> packed_config_from_json(const Json& config, const std::string& where) {
  const Method* method = find_method(quant_method(config));
  if (method == nullptr) return std::nullopt;
  const std::string inside = where + ": " + kKey;
  PackedConfig result = method->read(config[kKey], inside);
  check_widths(result, inside);
  return result;
}

bool is_packed_folder(const fs::path& path) {
  return fs::is_regular_file(path / "config.json") &&
         find_method(quant_method(formats::read_folder_config(path).json)) != nullptr;
}

Json packed_config_to_json(const PackedConfig& config, const std::vector<std::string>& skipped) {
  if (config.layout == "compressed-tensors") return compressed_to_json(config, skipped);
  return config.layout == "awq" ? awq_to_json(config, skipped) : gptq_to_json(config, skipped);
}

}  // namespace lrqat::model
