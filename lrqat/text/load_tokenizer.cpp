// Which tokenizer a folder or file holds, and what the files beside it say about its special tokens.
#include "lrqat/base/error.h"
#include "lrqat/base/file.h"
#include "lrqat/base/json.h"
#include "lrqat/text/loaders.h"
#include "lrqat/text/tokenizer.h"
#include "lrqat/text/tokenizer_classes.h"

namespace lrqat::text {
namespace {

namespace fs = std::filesystem;

// What the files beside the tokenizer say about names and what is put around a text. The flags decide for
// Llama's class, and wherever there is no tokenizer.json with a template.
void apply_config(const TokenizerConfig& config, bool flags_decide, Pipeline& pipeline) {
  const auto set = [&](const char* key, std::optional<std::int32_t>& id) {
    if (const auto named = config.named.find(key); named != config.named.end()) {
      id = id_of_piece(pipeline, named->second);
    }
  };
  set("bos_token", pipeline.bos_token_id);
  set("eos_token", pipeline.eos_token_id);
  set("unk_token", pipeline.unk_token_id);
  set("pad_token", pipeline.pad_token_id);
  pipeline.chat_template = config.chat_template;
  if (!flags_decide && config.tokenizer_class.find("Llama") == std::string::npos) return;
  const auto apply = [](std::optional<bool> add, std::vector<std::int32_t>& side,
                        const std::optional<std::int32_t>& id) {
    if (!add) return;
    side.clear();
    if (*add && id) side = {*id};
  };
  apply(config.add_bos_token, pipeline.prefix, pipeline.bos_token_id);
  apply(config.add_eos_token, pipeline.suffix, pipeline.eos_token_id);
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

// tokenizer.json, or tekken.json, whatever its name.
std::shared_ptr<Pipeline> json_pipeline(const fs::path& path, const TokenizerConfig& config) {
  const Json json = read_json_file(path);
  return is_tekken(json) ? pipeline_from_tekken(json, path.string(), config)
                         : pipeline_from_json(json, path.string(), config);
}

std::shared_ptr<Pipeline> sentencepiece_pipeline(const fs::path& path, TokenizerConfig& config) {
  const GgufVocabulary vocabulary = read_sentencepiece(path);
  if (!is_sentencepiece_class(config)) return pipeline_from_vocabulary(vocabulary, path.string(), config);
  const Json json = tokenizer_json_of_sentencepiece(vocabulary, config);
  return pipeline_from_json(json, path.string(), config);
}

std::shared_ptr<Pipeline> byte_level_pipeline(const fs::path& vocabulary, const fs::path& merges,
                                              TokenizerConfig& config) {
  const Json json = tokenizer_json_of_byte_level(vocabulary, merges, config);
  return pipeline_from_json(json, vocabulary.string(), config);
}

// The first of `names` in the folder; empty where there is none.
fs::path first_of(const fs::path& folder, std::initializer_list<const char*> names) {
  for (const char* name : names) {
    if (fs::is_regular_file(folder / name)) return folder / name;
  }
  return {};
}

fs::path tokenizer_file(const fs::path& folder) {
  const fs::path file = first_of(folder, {"tokenizer.json", "tekken.json", "tokenizer.model"});
  if (!file.empty()) return file;
  const fs::path vocabulary = first_of(folder, {"vocab.json", "encoder.json"});
  if (!vocabulary.empty() && !first_of(folder, {"merges.txt", "vocab.bpe"}).empty()) return vocabulary;
  fail(folder.string(),
       ": no tokenizer here; looked for tokenizer.json, tekken.json, tokenizer.model, vocab.json with "
       "merges.txt");
}

enum class Kind { kJson, kByteLevel, kSentencePiece, kLlama2c };

Kind kind_of(const fs::path& file) {
  const std::string name = file.filename().string();
  if (name == "vocab.json" || name == "encoder.json") return Kind::kByteLevel;
  if (file.extension() == ".json") return Kind::kJson;
  if (name.find(".model") != std::string::npos) return Kind::kSentencePiece;
  if (file.extension() == ".bin") return Kind::kLlama2c;
  fail(
      file.string(),
      ": not a tokenizer file; known are tokenizer.json, tekken.json, *.model (SentencePiece), vocab.json or "
      "encoder.json beside their merges, and *.bin (llama2.c)");
}

fs::path merges_beside(const fs::path& vocabulary) {
  const fs::path folder = vocabulary.parent_path();
  const fs::path merges = first_of(folder, {"merges.txt", "vocab.bpe"});
  if (merges.empty()) fail(vocabulary.string(), ": no merges.txt or vocab.bpe beside it");
  return merges;
}

Tokenizer load_file(const fs::path& file) {
  const Kind kind = kind_of(file);
  if (kind == Kind::kLlama2c) return load_llama2c_tokenizer(file);
  TokenizerConfig config = read_tokenizer_config(file.parent_path());
  std::shared_ptr<Pipeline> pipeline;
  if (kind == Kind::kJson) pipeline = json_pipeline(file, config);
  if (kind == Kind::kSentencePiece) pipeline = sentencepiece_pipeline(file, config);
  if (kind == Kind::kByteLevel) pipeline = byte_level_pipeline(file, merges_beside(file), config);
  apply_config(config, kind != Kind::kJson, *pipeline);
  return finished(std::move(pipeline));
}

}  // namespace

Tokenizer load_tokenizer_json(const fs::path& path) {
  const TokenizerConfig config = read_tokenizer_config(path.parent_path());
  auto pipeline = json_pipeline(path, config);
  apply_config(config, /*flags_decide=*/false, *pipeline);
  return finished(std::move(pipeline));
}

Tokenizer load_gpt2_files(const fs::path& vocabulary, const fs::path& merges) {
  TokenizerConfig config;
  auto pipeline = byte_level_pipeline(vocabulary, merges, config);
  apply_config(config, /*flags_decide=*/true, *pipeline);
  return finished(std::move(pipeline));
}

Tokenizer load_tokenizer(const fs::path& path) {
  if (fs::is_directory(path)) return load_file(tokenizer_file(path));
  if (!fs::exists(path)) fail(path.string(), ": no such file or folder");
  return load_file(path);
}

}  // namespace lrqat::text
