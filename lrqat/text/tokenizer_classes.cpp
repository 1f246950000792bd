#include "lrqat/text/tokenizer_classes.h"

#include <algorithm>
#include <unordered_map>

#include "lrqat/base/error.h"
#include "lrqat/base/file.h"
#include "lrqat/text/pre_names.h"
#include "lrqat/text/pre_tokenizer.h"
#include "lrqat/text/unicode.h"
#include "lrqat/text/word_model.h"

namespace lrqat::text {
namespace {

// What a class says where its files say nothing; an empty name: none.
struct Defaults {
  const char* bos;
  const char* eos;
  const char* pad;
  const char* unk;
  bool add_bos;
};

struct ByteLevelClass {
  std::string_view name;
  std::string_view pre;  // the cuts, by llama.cpp's name (pre_names.h)
  bool composes;         // NFC
  Defaults defaults;
};

constexpr Defaults kEndOfText = {"<|endoftext|>", "<|endoftext|>", "", "", false};
constexpr ByteLevelClass kByteLevelClasses[] = {
    {"GPT2Tokenizer", "gpt-2", false, kEndOfText},
    {"CodeGenTokenizer", "gpt-2", false, kEndOfText},
    {"GPTNeoXTokenizer", "gpt-2", true, {"<|endoftext|>", "<|endoftext|>", "<|padding|>", "", false}},
    {"Qwen2Tokenizer", "qwen2", true, {"", "<|endoftext|>", "<|endoftext|>", "", false}},
    {"CohereTokenizer", "command-r", true, {"<BOS_TOKEN>", "<|END_OF_TURN_TOKEN|>", "<PAD>", "", true}},
};

struct SentencePieceClass {
  std::string_view name;
  bool prefix;  // puts a space in front of a text
  Defaults defaults;
};

constexpr SentencePieceClass kSentencePieceClasses[] = {
    {"LlamaTokenizer", true, {"<s>", "</s>", "", "<unk>", true}},
    {"CodeLlamaTokenizer", true, {"<s>", "</s>", "", "<unk>", true}},
    {"GemmaTokenizer", false, {"<bos>", "<eos>", "<pad>", "<unk>", true}},
};

template <typename Row, std::size_t n>
const Row* find_class(const Row (&rows)[n], std::string_view name) {
  const auto found =
      std::find_if(std::begin(rows), std::end(rows), [&](const Row& row) { return row.name == name; });
  return found == std::end(rows) ? nullptr : &*found;
}

const std::string& class_name(const TokenizerConfig& config) {
  return config.tokenizer_class.empty() ? config.family_class : config.tokenizer_class;
}

const ByteLevelClass& byte_level_class(const TokenizerConfig& config, const std::string& where) {
  if (const ByteLevelClass* found = find_class(kByteLevelClasses, class_name(config))) return *found;
  if (config.tokenizer_class.empty()) return kByteLevelClasses[0];
  std::string known;
  for (const ByteLevelClass& row : kByteLevelClasses)
    known.append(known.empty() ? "" : ", ").append(row.name);
  fail(where, ": how tokenizer_class \"", config.tokenizer_class, "\" (", config.where,
       ") cuts text is not known; known: ", known,
       ". A tokenizer.json says it: AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER) of "
       "transformers "
       "writes one");
}

// Names of the class for which the vocabulary has a token.
template <typename Has>
void set_defaults(const Defaults& defaults, const Has& has, TokenizerConfig& config) {
  const auto set = [&](const char* key, const std::string& content) {
    if (config.named.contains(key) || content.empty() || !has(content)) return;
    config.named[key] = content;
    AddedToken token;
    token.id = TokenizerConfig::kNoId;
    token.content = content;
    token.special = true;
    config.tokens.push_back(std::move(token));
  };
  set("bos_token", defaults.bos);
  set("eos_token", defaults.eos);
  set("pad_token", defaults.pad);
  set("unk_token", defaults.unk);
  if (!config.add_bos_token) config.add_bos_token = defaults.add_bos;
  if (!config.add_eos_token) config.add_eos_token = false;
}

Json read_merges(const std::filesystem::path& path) {
  const std::string text = read_text_file(path);
  Json merges = Json::array();
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    std::string line = text.substr(begin, end - begin);
    if (line.ends_with('\r')) line.pop_back();
    if (!line.empty() && !line.starts_with("#version")) {
      const auto [left, right] = split_merge(line, path.string());
      merges.push_back({left, right});
    }
    begin = end + 1;
  }
  return merges;
}

Json byte_level_steps(const ByteLevelClass& row, bool add_prefix_space) {
  Json steps = Json::array();
  bool gpt2 = false;  // ByteLevel cuts that way itself, after the space that it puts in front
  for (const std::string_view pattern : find_pre_name(row.pre, "").patterns) {
    gpt2 = pattern == kGpt2Pattern;
    if (gpt2) continue;
    steps.push_back(
        {{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}, {"invert", false}});
  }
  steps.push_back({{"type", "ByteLevel"}, {"add_prefix_space", add_prefix_space}, {"use_regex", gpt2}});
  return {{"type", "Sequence"}, {"pretokenizers", steps}};
}

// Every cut of a piece into two pieces is a merge; pieces with smaller ids merge first.
Json merges_of(const std::vector<std::string>& pieces) {
  std::unordered_map<std::string_view, std::size_t> ids;
  for (std::size_t i = 0; i < pieces.size(); ++i) ids.emplace(pieces[i], i);
  Json merges = Json::array();
  for (const std::string_view piece : pieces) {
    for (std::size_t cut = 0; cut < piece.size(); cut += utf8_length(piece[cut])) {
      const auto left = piece.substr(0, cut), right = piece.substr(cut);
      if (cut > 0 && ids.contains(left) && ids.contains(right)) merges.push_back({left, right});
    }
  }
  return merges;
}

Json metaspace(bool prefix, bool after_every_token) {
  const char* scheme = !prefix ? "never" : after_every_token ? "always" : "first";
  return {{"type", "Metaspace"}, {"replacement", kMetaSpace}, {"prepend_scheme", scheme}, {"split", false}};
}

Json sentencepiece_decoder(bool prefix) {
  Json steps = {{{"type", "Replace"}, {"pattern", {{"String", kMetaSpace}}}, {"content", " "}},
                {{"type", "ByteFallback"}},
                {{"type", "Fuse"}}};
  if (prefix) steps.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  return {{"type", "Sequence"}, {"decoders", steps}};
}

}  // namespace

Json tokenizer_json_of_byte_level(const std::filesystem::path& vocabulary,
                                  const std::filesystem::path& merges, TokenizerConfig& config) {
  const ByteLevelClass& row = byte_level_class(config, vocabulary.string());
  Json vocab = read_json_file(vocabulary);
  if (!vocab.is_object()) fail(vocabulary.string(), ": expected an object of tokens and ids");
  const auto has = [&](const std::string& piece) { return vocab.contains(piece); };
  set_defaults(row.defaults, has, config);
  return {{"normalizer", row.composes ? Json({{"type", "NFC"}}) : Json()},
          {"pre_tokenizer", byte_level_steps(row, config.add_prefix_space.value_or(false))},
          {"decoder", {{"type", "ByteLevel"}}},
          {"model", {{"type", "BPE"}, {"vocab", std::move(vocab)}, {"merges", read_merges(merges)}}}};
}

bool is_sentencepiece_class(const TokenizerConfig& config) {
  return find_class(kSentencePieceClasses, class_name(config)) != nullptr;
}

Json tokenizer_json_of_sentencepiece(const GgufVocabulary& vocabulary, TokenizerConfig& config) {
  const SentencePieceClass* row = find_class(kSentencePieceClasses, class_name(config));
  LRQAT_CHECK(row != nullptr);
  Json vocab = Json::object(), added = Json::array();
  for (std::size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    vocab[vocabulary.tokens[id]] = id;
    const auto type = static_cast<TokenType>(vocabulary.token_types[id]);
    if (type != TokenType::kControl && type != TokenType::kUserDefined) continue;
    added.push_back({{"id", id},
                     {"content", vocabulary.tokens[id]},
                     {"special", type == TokenType::kControl},
                     {"normalized", false}});
  }
  const auto has = [&](const std::string& piece) { return vocab.contains(piece); };
  set_defaults(row->defaults, has, config);
  Json model = {
      {"type", "BPE"}, {"byte_fallback", true}, {"fuse_unk", true}, {"merges", merges_of(vocabulary.tokens)}};
  if (vocabulary.unknown_token_id) {
    model["unk_token"] = vocabulary.tokens[static_cast<std::size_t>(*vocabulary.unknown_token_id)];
  }
  model["vocab"] = std::move(vocab);
  const bool prefix = row->prefix && config.add_prefix_space.value_or(true);
  Json out = {
      {"added_tokens", added}, {"decoder", sentencepiece_decoder(prefix)}, {"model", std::move(model)}};
  if (row->prefix) {
    out["pre_tokenizer"] = metaspace(prefix, config.legacy);
  } else {
    out["normalizer"] = {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", kMetaSpace}};
  }
  return out;
}

}  // namespace lrqat::text
