#include "lrqat/model/tokenizer_files.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <optional>
#include <string_view>
#include <unordered_set>

#include "lrqat/base/error.h"
#include "lrqat/base/json.h"
#include "lrqat/formats/weight_source.h"

namespace lrqat::model {
namespace {

namespace fs = std::filesystem;

constexpr const char* kVocabularyFile = "tokenizer.gguf";
constexpr const char* kGenerationConfig = "generation_config.json";
constexpr const char* kEndOfTurnKey = "tokenizer.ggml.eot_token_id";
constexpr std::array<const char*, 2> kStopKeys = {kEndOfTurnKey, "tokenizer.ggml.eom_token_id"};
constexpr std::array<const char*, 12> kTokenizerFiles = {"tokenizer.json",
                                                         "tekken.json",
                                                         "tokenizer_config.json",
                                                         "special_tokens_map.json",
                                                         "added_tokens.json",
                                                         "tokenizer.model",
                                                         "vocab.json",
                                                         "merges.txt",
                                                         "vocab.bpe",
                                                         "encoder.json",
                                                         "chat_template.jinja",
                                                         "tiktoken.model"};

template <typename T>
std::optional<T> optional_value(const formats::GgufFile& file, const std::string& key) {
  return file.has(key) ? std::optional<T>(file.get<T>(key)) : std::nullopt;
}

// Lists of int32 come as any integer type.
std::vector<std::int32_t> integers(const formats::GgufFile& file, const std::string& key) {
  const auto wide = file.get_or<std::vector<std::int64_t>>(key, {});
  return {wide.begin(), wide.end()};
}

bool has_tokenizer_files(const fs::path& folder) {
  return std::any_of(kTokenizerFiles.begin(), kTokenizerFiles.end(),
                     [&](const char* name) { return fs::is_regular_file(folder / name); });
}

// By content: --tokenizer and --model take files of any name.
bool is_gguf(const fs::path& file) {
  constexpr std::string_view kMagic = "GGUF";
  std::array<char, kMagic.size()> first{};
  std::ifstream(file, std::ios::binary).read(first.data(), first.size());
  return file.extension() == ".gguf" || std::string_view(first.data(), first.size()) == kMagic;
}

// The GGUF file that a model's vocabulary lies in: the model itself, or the one in a folder that has no
// tokenizer files; empty where there is none.
fs::path vocabulary_file(const fs::path& model) {
  if (!fs::is_directory(model)) return is_gguf(model) ? model : fs::path();
  if (has_tokenizer_files(model)) return {};
  if (fs::is_regular_file(model / kVocabularyFile)) return model / kVocabularyFile;
  return formats::gguf_in(model);
}

// All tokenizer.* keys, also those that are not known here.
void copy_vocabulary_keys(const formats::GgufFile& file, formats::GgufWriter& writer) {
  for (const auto& [key, value] : file.metadata()) {
    if (key.starts_with("tokenizer.")) writer.set(key, value);
  }
}

template <typename T>
void set_if(formats::GgufWriter& writer, const std::string& key, const std::optional<T>& value) {
  if (value) writer.set(key, *value);
}

void set_token(formats::GgufWriter& writer, const std::string& key,
               const std::optional<std::int32_t>& value) {
  if (value) writer.set(key, static_cast<std::uint32_t>(*value));
}

// The first token besides EOS that ends an answer; a GGUF file has a key for one.
std::optional<std::int32_t> end_of_turn(const fs::path& model, const text::GgufVocabulary& vocabulary) {
  for (const std::int64_t token : generation_stop_tokens(model)) {
    const bool known = token >= 0 && token < std::ssize(vocabulary.tokens);
    if (known && token != vocabulary.eos_token_id) return static_cast<std::int32_t>(token);
  }
  return std::nullopt;
}

template <typename T>
void set_list(formats::GgufWriter& writer, const std::string& key, const std::vector<T>& values) {
  if (!values.empty()) writer.set(key, formats::GgufArray(values));
}

void carry_file(const fs::path& file, const fs::path& folder) {
  write_text_file(folder / file.filename(), read_text_file(file));
}

// llama.cpp refuses a vocabulary with more tokens than the embedding has rows: those without a row, which the
// model could neither read nor say, are left out.
void drop_tokens_without_rows(std::int64_t rows, text::GgufVocabulary& vocabulary) {
  constexpr std::size_t kShown = 5;
  const auto kept = static_cast<std::size_t>(rows);
  if (vocabulary.tokens.size() <= kept) return;
  std::string names;
  for (std::size_t i = kept; i < std::min(vocabulary.tokens.size(), kept + kShown); ++i)
    names += (names.empty() ? "" : ", ") + vocabulary.tokens[i];
  if (vocabulary.tokens.size() > kept + kShown) names += ", …";
  vocabulary.warnings.push_back(concat(vocabulary.tokens.size() - kept,
                                       " tokens of the tokenizer have no row in the embedding, which has ",
                                       rows, ", and are left out: ", names));
  vocabulary.tokens.resize(kept);
  if (vocabulary.scores.size() > kept) vocabulary.scores.resize(kept);
  if (vocabulary.token_types.size() > kept) vocabulary.token_types.resize(kept);
  const std::unordered_set<std::string_view> left(vocabulary.tokens.begin(), vocabulary.tokens.end());
  std::erase_if(vocabulary.merges, [&](const std::string& merge) {
    std::string token = merge;
    std::erase(token, ' ');  // tokens have another letter for a space
    return !left.contains(token);
  });
  for (auto* id : {&vocabulary.bos_token_id, &vocabulary.eos_token_id, &vocabulary.unknown_token_id,
                   &vocabulary.padding_token_id}) {
    if (*id && **id >= rows) id->reset();
  }
}

}  // namespace

text::GgufVocabulary read_gguf_vocabulary(const formats::GgufFile& file) {
  text::GgufVocabulary vocabulary;
  vocabulary.model = file.get<std::string>("tokenizer.ggml.model");
  vocabulary.pre = file.get_or<std::string>("tokenizer.ggml.pre", "");
  vocabulary.tokens = file.get<std::vector<std::string>>("tokenizer.ggml.tokens");
  vocabulary.scores = file.get_or<std::vector<float>>("tokenizer.ggml.scores", {});
  vocabulary.token_types = integers(file, "tokenizer.ggml.token_type");
  vocabulary.merges = file.get_or<std::vector<std::string>>("tokenizer.ggml.merges", {});
  vocabulary.bos_token_id = optional_value<std::int32_t>(file, "tokenizer.ggml.bos_token_id");
  vocabulary.eos_token_id = optional_value<std::int32_t>(file, "tokenizer.ggml.eos_token_id");
  vocabulary.unknown_token_id = optional_value<std::int32_t>(file, "tokenizer.ggml.unknown_token_id");
  vocabulary.padding_token_id = optional_value<std::int32_t>(file, "tokenizer.ggml.padding_token_id");
  vocabulary.add_bos_token = optional_value<bool>(file, "tokenizer.ggml.add_bos_token");
  vocabulary.add_eos_token = optional_value<bool>(file, "tokenizer.ggml.add_eos_token");
  vocabulary.add_space_prefix = optional_value<bool>(file, "tokenizer.ggml.add_space_prefix");
  vocabulary.remove_extra_whitespaces = file.get_or<bool>("tokenizer.ggml.remove_extra_whitespaces", false);
  vocabulary.chat_template = file.get_or<std::string>("tokenizer.chat_template", "");
  return vocabulary;
}

void write_gguf_vocabulary(const text::GgufVocabulary& vocabulary, formats::GgufWriter& writer) {
  writer.set("tokenizer.ggml.model", vocabulary.model);
  if (!vocabulary.pre.empty()) writer.set("tokenizer.ggml.pre", vocabulary.pre);
  set_list(writer, "tokenizer.ggml.tokens", vocabulary.tokens);
  set_list(writer, "tokenizer.ggml.scores", vocabulary.scores);
  set_list(writer, "tokenizer.ggml.token_type", vocabulary.token_types);
  set_list(writer, "tokenizer.ggml.merges", vocabulary.merges);
  set_token(writer, "tokenizer.ggml.bos_token_id", vocabulary.bos_token_id);
  set_token(writer, "tokenizer.ggml.eos_token_id", vocabulary.eos_token_id);
  set_token(writer, "tokenizer.ggml.unknown_token_id", vocabulary.unknown_token_id);
  set_token(writer, "tokenizer.ggml.padding_token_id", vocabulary.padding_token_id);
  set_if(writer, "tokenizer.ggml.add_bos_token", vocabulary.add_bos_token);
  set_if(writer, "tokenizer.ggml.add_eos_token", vocabulary.add_eos_token);
  set_if(writer, "tokenizer.ggml.add_space_prefix", vocabulary.add_space_prefix);
  if (vocabulary.remove_extra_whitespaces) writer.set("tokenizer.ggml.remove_extra_whitespaces", true);
  if (!vocabulary.chat_template.empty()) writer.set("tokenizer.chat_template", vocabulary.chat_template);
}

std::vector<std::int64_t> generation_stop_tokens(const fs::path& model) {
  std::vector<std::int64_t> stops;
  if (const fs::path gguf = vocabulary_file(model); !gguf.empty()) {
    const formats::GgufFile file(gguf);
    for (const char* key : kStopKeys) {
      if (file.has(key)) stops.push_back(file.get<std::int64_t>(key));
    }
  }
  const fs::path path = model / kGenerationConfig;
  if (!fs::is_regular_file(path)) return stops;
  const Json config = read_json_file(path);
  const auto it = config.find("eos_token_id");
  if (it == config.end() || it->is_null()) return stops;
  const Json list = it->is_array() ? *it : Json::array({*it});
  for (const auto id :
       json_get<std::vector<std::int64_t>>({{"eos_token_id", list}}, "eos_token_id", path.string())) {
    stops.push_back(id);
  }
  return stops;
}

text::Tokenizer load_model_tokenizer(const fs::path& model) {
  const fs::path gguf = vocabulary_file(model);
  if (gguf.empty()) return text::load_tokenizer(model);
  return text::tokenizer_from_vocabulary(read_gguf_vocabulary(formats::GgufFile(gguf)));
}

std::vector<std::string> write_model_vocabulary(const fs::path& model, std::int64_t vocab_size,
                                                formats::GgufWriter& writer) {
  const fs::path gguf = vocabulary_file(model);
  if (!gguf.empty()) {
    const formats::GgufFile file(gguf);
    if (file.has("tokenizer.ggml.model")) {
      text::GgufVocabulary vocabulary = read_gguf_vocabulary(file);
      drop_tokens_without_rows(vocab_size, vocabulary);
      if (vocabulary.warnings.empty())
        copy_vocabulary_keys(file, writer);
      else
        write_gguf_vocabulary(vocabulary, writer);
      return vocabulary.warnings;
    }
  } else if (has_tokenizer_files(model)) {
    text::GgufVocabulary vocabulary = text::load_tokenizer(model).to_gguf(vocab_size);
    drop_tokens_without_rows(vocab_size, vocabulary);
    write_gguf_vocabulary(vocabulary, writer);
    set_token(writer, kEndOfTurnKey, end_of_turn(model, vocabulary));
    return vocabulary.warnings;
  }
  return {"the model has no tokenizer, so the file has no vocabulary and llama.cpp cannot load it"};
}

bool is_carried_file(const std::string& name) {
  return name == kVocabularyFile || name == kGenerationConfig ||
         std::find(kTokenizerFiles.begin(), kTokenizerFiles.end(), name) != kTokenizerFiles.end();
}

void copy_tokenizer(const fs::path& model, const fs::path& folder) {
  if (fs::is_regular_file(model / kGenerationConfig)) carry_file(model / kGenerationConfig, folder);
  const fs::path gguf = vocabulary_file(model);
  if (!gguf.empty()) {
    const formats::GgufFile file(gguf);
    if (!file.has("tokenizer.ggml.model")) return;
    formats::GgufWriter writer(folder / kVocabularyFile);
    writer.set("general.architecture", file.get<std::string>("general.architecture"));
    copy_vocabulary_keys(file, writer);
    writer.finish();
    return;
  }
  for (const char* name : kTokenizerFiles) {
    if (fs::is_regular_file(model / name)) carry_file(model / name, folder);
  }
}

}  // namespace lrqat::model
