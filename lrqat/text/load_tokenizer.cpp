// Which tokenizer a folder or file holds, and what the files beside it (tokenizer_config.json,
// special_tokens_map.json) say about special tokens.
#include "lrqat/base/error.h"
#include "lrqat/base/file.h"
#include "lrqat/base/json.h"
#include "lrqat/text/loaders.h"
#include "lrqat/text/tokenizer.h"

namespace lrqat::text {
namespace {

namespace fs = std::filesystem;

// A special token is a string or an object with "content".
std::string token_text(const Json& json, const char* key) {
  const auto it = json.find(key);
  if (it == json.end() || it->is_null()) return {};
  if (it->is_string()) return it->get<std::string>();
  return it->is_object() ? it->value("content", "") : "";
}

Json read_if_there(const fs::path& path) {
  return fs::is_regular_file(path) ? read_json_file(path) : Json::object();
}

std::string chat_template_of(const Json& config, const fs::path& folder) {
  if (fs::is_regular_file(folder / "chat_template.jinja"))
    return read_text_file(folder / "chat_template.jinja");
  const auto it = config.find("chat_template");
  if (it == config.end()) return {};
  if (it->is_string()) return it->get<std::string>();
  if (!it->is_array()) return {};
  for (const Json& entry : *it) {  // several named templates
    if (entry.value("name", "") == "default") return entry.value("template", "");
  }
  return {};
}

// add_bos_token and add_eos_token of Llama's tokenizer class decide instead of the template, where they are
// given.
void apply_flags(const Json& config, const std::string& where, Pipeline& pipeline) {
  const auto tokenizer_class = json_get_or<std::string>(config, "tokenizer_class", "", where);
  if (tokenizer_class.find("Llama") == std::string::npos) return;
  const auto apply = [&](const char* key, std::vector<std::int32_t>& side,
                         const std::optional<std::int32_t>& id) {
    const auto it = config.find(key);
    if (it == config.end() || !it->is_boolean()) return;
    side.clear();
    if (!it->get<bool>()) return;
    if (!id) fail(where, ": ", key, " is true, but the token is not in the vocabulary");
    side = {*id};
  };
  apply("add_bos_token", pipeline.prefix, pipeline.bos_token_id);
  apply("add_eos_token", pipeline.suffix, pipeline.eos_token_id);
}

void apply_config(const fs::path& folder, Pipeline& pipeline) {
  const Json config = read_if_there(folder / "tokenizer_config.json");
  const Json map = read_if_there(folder / "special_tokens_map.json");
  const auto set = [&](const char* key, std::optional<std::int32_t>& id) {
    std::string text = token_text(config, key);
    if (text.empty()) text = token_text(map, key);
    if (const auto found = id_of_piece(pipeline, text)) id = found;
  };
  set("bos_token", pipeline.bos_token_id);
  set("eos_token", pipeline.eos_token_id);
  set("unk_token", pipeline.unk_token_id);
  set("pad_token", pipeline.pad_token_id);
  apply_flags(config, (folder / "tokenizer_config.json").string(), pipeline);
  if (pipeline.chat_template.empty()) pipeline.chat_template = chat_template_of(config, folder);
}

// What a GGUF file says besides tokens follows from the pipeline.
Tokenizer finished(std::shared_ptr<Pipeline> pipeline) {
  GgufVocabulary& gguf = pipeline->gguf;
  gguf.bos_token_id = pipeline->bos_token_id;
  gguf.eos_token_id = pipeline->eos_token_id;
  gguf.unknown_token_id = pipeline->unk_token_id;
  gguf.padding_token_id = pipeline->pad_token_id;
  gguf.chat_template = pipeline->chat_template;
  const auto is_only = [](const std::vector<std::int32_t>& side, const std::optional<std::int32_t>& id) {
    return side.size() == 1 && id && side[0] == *id;
  };
  gguf.add_bos_token = is_only(pipeline->prefix, pipeline->bos_token_id);
  gguf.add_eos_token = is_only(pipeline->suffix, pipeline->eos_token_id);
  if ((!pipeline->prefix.empty() && !*gguf.add_bos_token) ||
      (!pipeline->suffix.empty() && !*gguf.add_eos_token)) {
    gguf.warnings.push_back(
        "llama.cpp can put only BOS and EOS around a text; this tokenizer puts other tokens");
  }
  return Tokenizer(std::move(pipeline));
}

std::shared_ptr<Pipeline> gpt2_pipeline(const fs::path& vocabulary, const fs::path& merges) {
  const Json json = read_json_file(vocabulary);
  if (!json.is_object()) fail(vocabulary.string(), ": expected an object of tokens and ids");
  GgufVocabulary out;
  out.model = "gpt2";
  out.pre = "gpt-2";
  out.tokens.resize(json.size());
  for (const auto& [token, id] : json.items()) {
    if (!id.is_number_integer() || id.get<std::int64_t>() < 0 ||
        id.get<std::int64_t>() >= static_cast<std::int64_t>(json.size())) {
      fail(vocabulary.string(), ": token \"", token, "\" has id ", json_excerpt(id), ", expected 0 to ",
           json.size() - 1);
    }
    out.tokens[id.get<std::size_t>()] = token;
  }
  out.token_types.assign(out.tokens.size(), static_cast<std::int32_t>(TokenType::kNormal));
  for (std::size_t id = 0; id < out.tokens.size(); ++id) {
    if (out.tokens[id] != "<|endoftext|>") continue;
    out.token_types[id] = static_cast<std::int32_t>(TokenType::kControl);
    out.bos_token_id = out.eos_token_id = static_cast<std::int32_t>(id);
  }
  const std::string text = read_text_file(merges);
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    std::string line = text.substr(begin, end - begin);
    if (line.ends_with('\r')) line.pop_back();
    if (!line.empty() && !line.starts_with("#version")) out.merges.push_back(line);
    begin = end + 1;
  }
  return pipeline_from_vocabulary(out, merges.string());
}

// tokenizer.json, or tekken.json, whatever its name.
std::shared_ptr<Pipeline> json_pipeline(const fs::path& path) {
  const Json json = read_json_file(path);
  return is_tekken(json) ? pipeline_from_tekken(json, path.string())
                         : pipeline_from_json(json, path.string());
}

// The first of `names` in the folder; empty where there is none.
fs::path first_of(const fs::path& folder, std::initializer_list<const char*> names) {
  for (const char* name : names) {
    if (fs::is_regular_file(folder / name)) return folder / name;
  }
  return {};
}

Tokenizer load_folder(const fs::path& folder) {
  std::shared_ptr<Pipeline> pipeline;
  const fs::path vocabulary = first_of(folder, {"vocab.json", "encoder.json"});
  const fs::path merges = first_of(folder, {"merges.txt", "vocab.bpe"});
  if (fs::is_regular_file(folder / "tokenizer.json")) {
    pipeline = json_pipeline(folder / "tokenizer.json");
  } else if (fs::is_regular_file(folder / "tekken.json")) {
    pipeline = json_pipeline(folder / "tekken.json");
  } else if (fs::is_regular_file(folder / "tokenizer.model")) {
    const fs::path path = folder / "tokenizer.model";
    pipeline = pipeline_from_vocabulary(read_sentencepiece(path), path.string());
  } else if (!vocabulary.empty() && !merges.empty()) {
    pipeline = gpt2_pipeline(vocabulary, merges);
  } else {
    fail(folder.string(),
         ": no tokenizer here; looked for tokenizer.json, tekken.json, tokenizer.model, vocab.json with "
         "merges.txt");
  }
  apply_config(folder, *pipeline);
  return finished(std::move(pipeline));
}

}  // namespace

Tokenizer load_tokenizer_json(const fs::path& path) {
  auto pipeline = json_pipeline(path);
  apply_config(path.parent_path(), *pipeline);
  return finished(std::move(pipeline));
}

Tokenizer load_gpt2_files(const fs::path& vocabulary, const fs::path& merges) {
  return finished(gpt2_pipeline(vocabulary, merges));
}

Tokenizer load_tokenizer(const fs::path& path) {
  if (fs::is_directory(path)) return load_folder(path);
  if (!fs::exists(path)) fail(path.string(), ": no such file or folder");
  const std::string name = path.filename().string();
  if (path.extension() == ".json") {
    const bool vocabulary = name == "vocab.json" || name == "encoder.json";
    return vocabulary ? load_folder(path.parent_path()) : load_tokenizer_json(path);
  }
  if (name.find(".model") != std::string::npos) return load_sentencepiece_model(path);
  if (path.extension() == ".bin") return load_llama2c_tokenizer(path);
  fail(
      path.string(),
      ": not a tokenizer file; known are tokenizer.json, tekken.json, *.model (SentencePiece), vocab.json or "
      "encoder.json beside their merges, and *.bin (llama2.c)");
}

}  // namespace lrqat::text
