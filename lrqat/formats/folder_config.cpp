// config.json, wherever writers put what belongs there.
#include <algorithm>
#include <array>

#include "lrqat/formats/checkpoint.h"
#include "lrqat/formats/messages.h"

namespace lrqat::formats {
namespace {

namespace fs = std::filesystem;

// Multimodal models whose text part, text_config, is one of our families without changes.
constexpr std::array<std::string_view, 6> kMultimodal{"gemma3",     "mistral3", "llava",
                                                      "llava_next", "idefics3", "smolvlm"};

// transformers leaves out of text_config what is its class's default.
const Json& text_defaults(const std::string& model_type) {
  static const Json kDefaults = Json::parse(R"({
    "llama": {"vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
              "num_attention_heads": 32},
    "mistral": {"vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
                "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 131072,
                "sliding_window": 4096},
    "qwen2": {"vocab_size": 151936, "hidden_size": 4096, "intermediate_size": 22016, "num_hidden_layers": 32,
              "num_attention_heads": 32, "num_key_value_heads": 32, "max_position_embeddings": 32768},
    "gemma3_text": {"vocab_size": 262208, "hidden_size": 2304, "intermediate_size": 9216,
                    "num_hidden_layers": 26, "num_attention_heads": 8, "num_key_value_heads": 4,
                    "head_dim": 256, "max_position_embeddings": 131072}
  })");
  static const Json kNone = Json::object();
  const auto found = kDefaults.find(model_type);
  return found == kDefaults.end() ? kNone : *found;
}

bool is_set(const Json& json, const char* key) { return json.contains(key) && !json[key].is_null(); }

// Files that say it neither way: a head of its own is there, or it is not.
bool stores_head(const fs::path& folder) {
  const auto names = ShardedSafetensors(folder).names();
  return std::any_of(names.begin(), names.end(),
                     [](const std::string& name) { return name.find("lm_head.") != std::string::npos; });
}

Json text_part(const Json& config, const fs::path& folder, const std::string& where) {
  const auto model_type = json_get<std::string>(config, "model_type", where);
  if (std::find(kMultimodal.begin(), kMultimodal.end(), model_type) == kMultimodal.end()) {
    fail(where, ": the text part of model_type ", quoted_name(model_type), " is not read; that of ",
         joined(kMultimodal, [](std::string_view name) { return name; }), " is");
  }
  Json text = config["text_config"];
  if (!is_set(text, "model_type")) text["model_type"] = model_type == "gemma3" ? "gemma3_text" : "mistral";
  const auto text_type = json_get<std::string>(text, "model_type", where);
  for (const auto& [key, value] : text_defaults(text_type).items()) {
    if (!text.contains(key)) text[key] = value;
  }
  for (const ModelFamily& family : model_families()) {
    if (text["model_type"] == family.model_type) text["architectures"] = {family.architecture};
  }
  // What the whole model says goes before what its text part says.
  for (const char* key : {"bos_token_id", "eos_token_id", "pad_token_id", "tie_word_embeddings", "dtype",
                          "torch_dtype", "quantization_config", "quantization"}) {
    if (is_set(config, key)) text[key] = config[key];
  }
  if (!is_set(text, "tie_word_embeddings")) text["tie_word_embeddings"] = !stores_head(folder);
  return text;
}

struct QuantizationFile {
  const char* name;
  const char* method;
};
constexpr std::array kQuantizationFiles =
    std::to_array<QuantizationFile>({{"quantize_config.json", "gptq"},
                                     {"quant_config.json", "awq"},
                                     {"quantization_config.json", "auto-round"}});

void add_quantization(const fs::path& folder, Json& config) {
  if (is_set(config, "quantization_config")) return;
  for (const auto& [name, method] : kQuantizationFiles) {
    if (!fs::is_regular_file(folder / name)) continue;
    Json quantization = read_json_file(folder / name);
    if (!quantization.is_object()) fail((folder / name).string(), ": expected a JSON object");
    if (!is_set(quantization, "quant_method")) quantization["quant_method"] = method;
    config["quantization_config"] = std::move(quantization);
    return;
  }
}

}  // namespace

FolderConfig read_folder_config(const fs::path& folder) {
  const std::string where = (folder / "config.json").string();
  FolderConfig result{read_json_file(folder / "config.json")};
  if (!result.json.is_object()) {
    fail(where, ": a model config must be a JSON object, found ", result.json.type_name());
  }
  add_quantization(folder, result.json);
  const auto text = result.json.find("text_config");
  result.has_other_parts = text != result.json.end() && text->is_object();
  if (result.has_other_parts) result.json = text_part(result.json, folder, where);
  return result;
}

}  // namespace lrqat::formats
