#include "lrqat/model/packed_config.h"

#include <algorithm>

#include "lrqat/base/error.h"

namespace lrqat::model {
namespace {

namespace fs = std::filesystem;

constexpr const char* kKey = "quantization_config";

std::string quant_method(const Json& config) {
  const auto found = config.find(kKey);
  if (found == config.end() || !found->is_object()) return {};
  const auto method = found->find("quant_method");
  return method != found->end() && method->is_string() ? method->get<std::string>() : std::string();
}

bool is_set(const Json& json, const char* key) {
  const auto found = json.find(key);
  return found != json.end() && !found->is_null();
}

// ---- compressed-tensors

PackedScheme scheme_from_weights(const Json& weights, const std::string& where) {
  PackedScheme scheme;
  scheme.num_bits = json_get<int>(weights, "num_bits", where);
  scheme.symmetric = json_get_or<bool>(weights, "symmetric", true, where);
  const auto type = json_get_or<std::string>(weights, "type", "int", where);
  const auto strategy = json_get<std::string>(weights, "strategy", where);
  if (type != "int") fail(where, ": weights of type \"", type, "\" are not supported: int is");
  if (strategy == "group") {
    scheme.group_size = json_get<std::int64_t>(weights, "group_size", where);
  } else if (strategy != "channel") {
    fail(where, ": strategy \"", strategy, "\" is not supported: channel and group are");
  }
  if (is_set(weights, "actorder") && weights["actorder"] != "static" && weights["actorder"] != "weight") {
    fail(where, ": actorder ", json_excerpt(weights["actorder"]), " scatters groups and is not supported");
  }
  return scheme;
}

PackedConfig compressed_config(const Json& json, const std::string& where) {
  const auto format = json_get<std::string>(json, "format", where);
  if (format != "pack-quantized") {
    fail(where, ": format \"", format, "\" of compressed-tensors is not supported: pack-quantized is");
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
  const auto size = json_get_or<std::int64_t>(json, "group_size", -1, where);
  if (size != -1 && size <= 0) fail(where, ": group_size is ", size, ", expected -1 or a positive number");
  return size;
}

PackedConfig gptq_config(const Json& json, const std::string& where) {
  if (json_get_or<bool>(json, "desc_act", false, where)) {
    fail(where, ": desc_act (act-order), whose groups are scattered along in_features, is not supported");
  }
  const auto version = json_get_or<std::string>(json, "checkpoint_format", "gptq", where);
  if (version != "gptq" && version != "gptq_v2") {
    fail(where, ": checkpoint_format \"", version, "\" is not supported: gptq and gptq_v2 are");
  }
  const PackedScheme scheme{json_get<int>(json, "bits", where), group_size(json, where),
                            json_get_or<bool>(json, "sym", true, where)};
  return {version == "gptq" ? "gptq" : "gptq-v2", {{scheme, {}}}};
}

PackedConfig awq_config(const Json& json, const std::string& where) {
  const auto version = json_get_or<std::string>(json, "version", "gemm", where);
  if (version != "gemm" && version != "GEMM") {
    fail(where, ": version \"", version, "\" of AWQ is not supported: gemm is");
  }
  const PackedScheme scheme{json_get<int>(json, "bits", where), group_size(json, where),
                            !json_get_or<bool>(json, "zero_point", true, where)};
  return {"awq", {{scheme, {}}}};
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
constexpr Method kMethods[] = {
    {"compressed-tensors", compressed_config}, {"gptq", gptq_config}, {"awq", awq_config}};

const Method* find_method(const std::string& name) {
  const auto* found = std::find_if(std::begin(kMethods), std::end(kMethods),
                                   [&](const Method& method) { return method.name == name; });
  return found == std::end(kMethods) ? nullptr : found;
}

// As compressed-tensors matches: a pattern from the name's beginning, the name, or the class of the module.
bool matches(const std::string& target, const std::string& module) {
  if (target.starts_with("re:")) {
    try {
      return std::regex_search(module, std::regex(target.substr(3)), std::regex_constants::match_continuous);
    } catch (const std::regex_error&) {
      fail("quantization_config: target \"", target, "\" is no pattern that can be read here");
    }
  }
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
  fail(where, ": holds integers of \"", module, "\", but no group of quantization_config is for it");
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
  const fs::path config = path / "config.json";
  return fs::is_regular_file(config) && find_method(quant_method(read_json_file(config))) != nullptr;
}

Json packed_config_to_json(const PackedConfig& config, const std::vector<std::string>& skipped) {
  if (config.layout == "compressed-tensors") return compressed_to_json(config, skipped);
  return config.layout == "awq" ? awq_to_json(config, skipped) : gptq_to_json(config, skipped);
}

}  // namespace lrqat::model
