#include "lrqat/text/tokenizer_config.h"

#include <algorithm>
#include <set>

#include "lrqat/base/error.h"
#include "lrqat/base/file.h"
#include "lrqat/base/json.h"
#include "lrqat/base/user_text.h"

namespace lrqat::text {
namespace {

namespace fs = std::filesystem;

constexpr std::int32_t kNoId = TokenizerConfig::kNoId;
constexpr const char* kNamedTokens[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                        "pad_token", "cls_token", "mask_token"};
constexpr const char* kTokenLists[] = {"additional_special_tokens", "extra_special_tokens"};

// A family's class in transformers, for files without a class of their own.
constexpr struct {
  std::string_view model_type;
  std::string_view tokenizer_class;
} kFamilies[] = {
    {"llama", "LlamaTokenizer"},     {"mistral", "LlamaTokenizer"},     {"mistral3", "LlamaTokenizer"},
    {"phi3", "LlamaTokenizer"},      {"gemma", "GemmaTokenizer"},       {"gemma2", "GemmaTokenizer"},
    {"gemma3", "GemmaTokenizer"},    {"gemma3_text", "GemmaTokenizer"}, {"qwen2", "Qwen2Tokenizer"},
    {"qwen2_moe", "Qwen2Tokenizer"}, {"qwen3", "Qwen2Tokenizer"},       {"qwen3_moe", "Qwen2Tokenizer"},
    {"gpt2", "GPT2Tokenizer"},       {"phi", "CodeGenTokenizer"},       {"gpt_neox", "GPTNeoXTokenizer"},
    {"starcoder2", "GPT2Tokenizer"},
};

Json read_object(const fs::path& path) {
  if (!fs::is_regular_file(path)) return Json::object();
  Json json = read_json_file(path);
  if (!json.is_object()) fail(path.string(), ": expected a JSON object, found ", json.type_name());
  return json;
}

// A token is a string or an object with "content" and options.
AddedToken token_of(const Json& json, bool special, std::int32_t id, const std::string& where) {
  AddedToken token;
  token.id = id;
  token.special = special;
  token.normalized = !special;
  if (json.is_string()) {
    token.content = json.get<std::string>();
    return token;
  }
  if (!json.is_object()) fail(where, ": a token is ", json_excerpt(json), ", expected a text or an object");
  token.content = json_get<std::string>(json, "content", where);
  token.single_word = json_get_or<bool>(json, "single_word", false, where);
  token.lstrip = json_get_or<bool>(json, "lstrip", false, where);
  token.rstrip = json_get_or<bool>(json, "rstrip", false, where);
  token.special = json_get_or<bool>(json, "special", special, where);
  token.normalized = json_get_or<bool>(json, "normalized", !token.special, where);
  return token;
}

bool is_token(const Json& json) { return json.is_string() || (json.is_object() && json.contains("content")); }

// special_tokens_map.json: what decides where there is no added_tokens_decoder, else only what the
// configuration does not say.
void merge_special_map(Json& config, const Json& map, bool decides) {
  for (const auto& [key, value] : map.items()) {
    if (decides ? !value.is_null() : !config.contains(key)) config[key] = value;
  }
}

// The tokens with names ("eos_token", also a model's own "image_token") and those of the lists.
std::vector<AddedToken> special_tokens(const Json& config, TokenizerConfig& out) {
  std::vector<AddedToken> tokens;
  const auto add = [&](const Json& json, const std::string& key) {
    AddedToken token = token_of(json, true, kNoId, out.where + ": " + key);
    token.special = true;
    if (!token.content.empty()) tokens.push_back(std::move(token));
  };
  for (const char* key : kNamedTokens) {
    if (!config.contains(key)) continue;
    out.named[key] = is_token(config[key]) ? token_of(config[key], true, kNoId, out.where).content : "";
    if (is_token(config[key])) add(config[key], key);
  }
  for (const auto& [key, value] : config.items()) {
    if (key.ends_with("_token") && !out.named.contains(key) && is_token(value)) add(value, key);
  }
  for (const char* key : kTokenLists) {
    if (!config.contains(key) || !config[key].is_structured()) continue;
    for (const Json& entry : config[key]) add(entry, key);
  }
  return tokens;
}

std::int32_t id_of_key(const std::string& key, const std::string& where) {
  const bool digits =
      !key.empty() && key.size() < 9 && key.find_first_not_of("0123456789") == std::string::npos;
  if (!digits) fail(where, ": ", quote(key), " is no token id");
  return std::stoi(key);
}

std::vector<AddedToken> numbered_tokens(const Json& config, const Json& encoder,
                                        const std::string& encoder_where,
                                        const std::set<std::string>& special, const std::string& where) {
  std::vector<AddedToken> tokens;
  if (config.contains("added_tokens_decoder")) {
    const std::string inside = where + ": added_tokens_decoder";
    const Json decoder = config["added_tokens_decoder"];
    if (!decoder.is_object())
      fail(inside, ": expected an object of ids and tokens, found ", decoder.type_name());
    for (const auto& [key, value] : decoder.items()) {
      tokens.push_back(token_of(value, false, id_of_key(key, inside), inside));
      tokens.back().special = tokens.back().special || special.contains(tokens.back().content);
    }
  } else {
    for (const auto& [content, id] : encoder.items()) {
      tokens.push_back(token_of(content, special.contains(content),
                                json_get<std::int32_t>(encoder, content, encoder_where), encoder_where));
    }
  }
  std::sort(tokens.begin(), tokens.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  return tokens;
}

std::string chat_template_of(const Json& config, const fs::path& folder) {
  if (fs::is_regular_file(folder / "chat_template.jinja"))
    return read_text_file(folder / "chat_template.jinja");
  const auto it = config.find("chat_template");
  if (it == config.end()) return {};
  if (it->is_string()) return it->get<std::string>();
  if (!it->is_array()) return {};
  for (const Json& entry : *it) {  // several named templates
    if (entry.is_object() && entry.value("name", Json()) == "default") {
      return json_get_or<std::string>(entry, "template", "", (folder / "tokenizer_config.json").string());
    }
  }
  return {};
}

std::string tokenizer_class_of(const Json& config, const std::string& where) {
  auto name = json_get_or<std::string>(config, "tokenizer_class", "", where);
  if (name.ends_with("Fast")) name.resize(name.size() - 4);
  // These say only which program reads it.
  const bool says_nothing = name == "PreTrainedTokenizer" || name == "TokenizersBackend" ||
                            name == "PythonBackend" || name == "MistralCommonBackend";
  return says_nothing ? "" : name;
}

std::string family_class_of(const fs::path& folder) {
  const fs::path path = folder / "config.json";
  const auto model_type = json_get_or<std::string>(read_object(path), "model_type", "", path.string());
  for (const auto& row : kFamilies) {
    if (row.model_type == model_type) return std::string(row.tokenizer_class);
  }
  return {};
}

std::optional<bool> flag(const Json& config, const char* key) {
  const auto it = config.find(key);
  return it != config.end() && it->is_boolean() ? std::optional(it->get<bool>()) : std::nullopt;
}

}  // namespace

TokenizerConfig read_tokenizer_config(const fs::path& folder) {
  TokenizerConfig out;
  const fs::path path = folder / "tokenizer_config.json";
  out.where = path.string();
  Json config = read_object(path);
  out.has_options = config.contains("added_tokens_decoder");
  merge_special_map(config, read_object(folder / "special_tokens_map.json"), !out.has_options);
  const std::vector<AddedToken> named = special_tokens(config, out);
  std::set<std::string> special;
  for (const AddedToken& token : named) special.insert(token.content);
  const fs::path encoder = folder / "added_tokens.json";
  out.tokens = numbered_tokens(config, read_object(encoder), encoder.string(), special, out.where);
  out.tokens.insert(out.tokens.end(), named.begin(), named.end());
  out.tokenizer_class = tokenizer_class_of(config, out.where);
  out.family_class = family_class_of(folder);
  out.add_bos_token = flag(config, "add_bos_token");
  out.add_eos_token = flag(config, "add_eos_token");
  out.add_prefix_space = flag(config, "add_prefix_space");
  out.legacy = flag(config, "legacy").value_or(false);
  out.chat_template = chat_template_of(config, folder);
  return out;
}

void add_config_tokens(const TokenizerConfig& config, Vocabulary& vocabulary,
                       std::vector<AddedToken>& added) {
  for (AddedToken token : config.tokens) {
    if (token.content.empty()) continue;
    const auto same = [&](const AddedToken& other) { return other.content == token.content; };
    const auto found = std::find_if(added.begin(), added.end(), same);
    if (found != added.end()) {
      if (!config.has_options || token.id == kNoId) continue;  // a name only: the options are known already
      token.id = found->id;
      *found = std::move(token);
      continue;
    }
    if (const auto known = vocabulary.id_of(token.content)) {
      token.id = *known;
    } else {
      if (token.id == kNoId || vocabulary.contains(token.id)) {
        token.id = static_cast<std::int32_t>(vocabulary.size());
      }
      vocabulary.add(token.id, token.content, config.where);
    }
    added.push_back(std::move(token));
  }
}

}  // namespace lrqat::text
