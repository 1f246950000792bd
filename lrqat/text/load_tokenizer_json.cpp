// tokenizer.json of Hugging Face `tokenizers`: every key and option is known or an error.
#include <algorithm>

#include "lrqat/base/error.h"
#include "lrqat/base/user_text.h"
#include "lrqat/text/component.h"
#include "lrqat/text/json_to_gguf.h"
#include "lrqat/text/loaders.h"
#include "lrqat/text/pipeline.h"
#include "lrqat/text/post_processor.h"
#include "lrqat/text/unigram.h"

namespace lrqat::text {
namespace {

// `truncation` and `padding` are what the library last did to a batch; transformers sets them again at every
// call.
constexpr std::string_view kTopKeys[] = {"version",        "truncation", "padding",
                                         "added_tokens",   "normalizer", "pre_tokenizer",
                                         "post_processor", "decoder",    "model"};
constexpr std::string_view kBpeKeys[] = {"type",
                                         "dropout",
                                         "unk_token",
                                         "continuing_subword_prefix",
                                         "end_of_word_suffix",
                                         "fuse_unk",
                                         "byte_fallback",
                                         "ignore_merges",
                                         "vocab",
                                         "merges"};
constexpr std::string_view kUnigramKeys[] = {"type", "unk_id", "vocab", "byte_fallback"};

const Json& required(const Json& object, const char* key, const std::string& where) {
  const auto it = object.find(key);
  if (it == object.end()) fail(where, ": key ", quote(key), " is missing");
  return *it;
}

std::vector<AddedToken> added_tokens(const Json& json, const std::string& where) {
  std::vector<AddedToken> out;
  for (const Json& entry : json_get_or<std::vector<Json>>(json, "added_tokens", {}, where)) {
    const std::string inside = where + ": added_tokens";
    AddedToken token;
    token.content = json_get<std::string>(entry, "content", inside);
    token.id = json_get<std::int32_t>(entry, "id", inside);
    token.single_word = json_get_or<bool>(entry, "single_word", false, inside);
    token.lstrip = json_get_or<bool>(entry, "lstrip", false, inside);
    token.rstrip = json_get_or<bool>(entry, "rstrip", false, inside);
    token.normalized = json_get_or<bool>(entry, "normalized", true, inside);
    token.special = json_get_or<bool>(entry, "special", false, inside);
    if (token.content.empty()) fail(inside, ": token ", token.id, " is empty");
    out.push_back(std::move(token));
  }
  return out;
}

void add_tokens(const std::vector<AddedToken>& added, Vocabulary& vocabulary, const std::string& where) {
  for (const AddedToken& token : added) {
    const auto known = vocabulary.id_of(token.content);
    if (known && *known != token.id) {
      fail(where, ": added token \"", token.content, "\" has id ", token.id, ", the vocabulary gives it ",
           *known);
    }
    if (!known) vocabulary.add(token.id, token.content, where);
  }
}

void read_vocabulary(const Json& model, Vocabulary& out, const std::string& where) {
  const Json& vocab = required(model, "vocab", where);
  if (!vocab.is_object()) fail(where, ": vocab is no object of pieces and ids");
  for (const auto& [piece, id] : vocab.items()) {
    if (!id.is_number_integer()) fail(where, ": vocab: the id of \"", piece, "\" is no whole number");
    out.add(id.get<std::int64_t>(), piece, where);
  }
}

std::vector<std::pair<std::string, std::string>> read_merges(const Json& model, const std::string& where) {
  std::vector<std::pair<std::string, std::string>> out;
  for (const Json& merge : json_get<std::vector<Json>>(model, "merges", where)) {
    if (merge.is_string()) {
      out.push_back(split_merge(merge.get<std::string>(), where));
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      out.emplace_back(merge[0].get<std::string>(), merge[1].get<std::string>());
    } else {
      fail(where, ": merge ", json_excerpt(merge), " is neither \"left right\" nor [\"left\", \"right\"]");
    }
  }
  return out;
}

void refuse_option(const Json& model, const char* key, const std::string& where) {
  const auto it = model.find(key);
  const bool off = it == model.end() || it->is_null() ||
                   (it->is_string() && it->get<std::string>().empty()) ||
                   (it->is_number() && it->get<double>() == 0.0);
  if (!off) fail(where, ": option ", quote(key), " is ", json_excerpt(*it), ", which is not supported");
}

MergeBpeOptions read_options(const Json& model, const Vocabulary& vocabulary, const std::string& where) {
  MergeBpeOptions options;
  for (const char* key : {"dropout", "continuing_subword_prefix", "end_of_word_suffix"})
    refuse_option(model, key, where);
  options.ignore_merges = json_get_or<bool>(model, "ignore_merges", false, where);
  options.unknown.byte_fallback = json_get_or<bool>(model, "byte_fallback", false, where);
  options.unknown.fuse = json_get_or<bool>(model, "fuse_unk", false, where);
  const auto unknown = json_get_or<std::string>(model, "unk_token", "", where);
  if (!unknown.empty()) {
    options.unknown.unknown_id = vocabulary.id_of(unknown);
    if (!options.unknown.unknown_id) fail(where, ": unk_token \"", unknown, "\" is not in the vocabulary");
  }
  return options;
}

void check_top(const Json& json, const std::string& where) {
  if (!json.is_object()) fail(where, ": expected a JSON object");
  for (const auto& [key, value] : json.items()) {
    if (std::find(std::begin(kTopKeys), std::end(kTopKeys), key) == std::end(kTopKeys)) {
      fail(where, ": key ", quote(key), " is not known");
    }
  }
}

// [piece, score] by id.
std::vector<double> read_scored_vocabulary(const Json& model, Vocabulary& out, const std::string& where) {
  const Json& vocab = required(model, "vocab", where);
  if (!vocab.is_array()) fail(where, ": vocab is no list of pieces and scores");
  std::vector<double> scores;
  for (const Json& entry : vocab) {
    const bool pair = entry.is_array() && entry.size() == 2 && entry[0].is_string() && entry[1].is_number();
    if (!pair) fail(where, ": vocab: ", json_excerpt(entry), " is no [piece, score]");
    out.add(std::ssize(scores), entry[0].get<std::string>(), where);
    scores.push_back(entry[1].get<double>());
  }
  return scores;
}

std::string model_type(const Json& model, const std::string& where) {
  // Files from before 2020 have no type; they are BPE where there are merges.
  if (model.is_object() && !model.contains("type") && model.contains("merges")) return "BPE";
  return component_type(model, where);
}

// The model, and the vocabulary with the added tokens after it.
class ModelReader {
 public:
  ModelReader(const Json& file, const TokenizerConfig& config, Pipeline& pipeline)
      : file_(file), config_(config), pipeline_(pipeline), where_(pipeline.where + ": model") {}

  void read() {
    const Json& model = required(file_, "model", pipeline_.where);
    const std::string type = model_type(model, where_);
    if (type == "BPE") return read_bpe(model);
    if (type == "Unigram") return read_unigram(model);
    fail_unknown_type(type, {"BPE", "Unigram"}, where_);
  }

 private:
  void add_tokens_behind() {
    std::vector<AddedToken> added = added_tokens(file_, pipeline_.where);
    add_tokens(added, *vocabulary_, where_);
    add_config_tokens(config_, *vocabulary_, added);
    pipeline_.vocabulary = vocabulary_;
    pipeline_.added = AddedTokens(std::move(added), [&](std::string_view text) {
      return normalize_all(pipeline_.normalizers, text, true);
    });
  }

  void read_bpe(const Json& model) {
    check_options(model, kBpeKeys, where_);
    read_vocabulary(model, *vocabulary_, where_);
    add_tokens_behind();
    MergeBpeOptions options = read_options(model, *vocabulary_, where_);
    options.byte_level = pipeline_.pre_tokenizers.byte_level;
    pipeline_.unk_token_id = options.unknown.unknown_id;
    const auto merges = read_merges(model, where_);
    pipeline_.model = make_merge_bpe(vocabulary_, merges, options, where_);
    fill_gguf(pipeline_, file_.value("normalizer", Json()), options, merges);
  }

  void read_unigram(const Json& model) {
    check_options(model, kUnigramKeys, where_);
    UnigramOptions options;
    options.scores = read_scored_vocabulary(model, *vocabulary_, where_);
    options.byte_fallback = json_get_or<bool>(model, "byte_fallback", false, where_);
    options.byte_level = pipeline_.pre_tokenizers.byte_level;
    const auto unknown = json_get_or<std::int64_t>(model, "unk_id", -1, where_);
    if (unknown >= 0) {
      if (!vocabulary_->contains(unknown)) fail(where_, ": unk_id ", unknown, " is not in the vocabulary");
      options.unknown_id = static_cast<std::int32_t>(unknown);
    }
    pipeline_.unk_token_id = options.unknown_id;
    pipeline_.model = make_unigram(*vocabulary_, std::move(options), where_);
    add_tokens_behind();
    pipeline_.gguf_problem = "it is a Unigram model, which GGUF files of decoders do not have";
  }

  const Json& file_;
  const TokenizerConfig& config_;
  Pipeline& pipeline_;
  std::string where_;
  std::shared_ptr<Vocabulary> vocabulary_ = std::make_shared<Vocabulary>();
};

}  // namespace

std::shared_ptr<Pipeline> pipeline_from_json(const Json& json, const std::string& where,
                                             const TokenizerConfig& config) {
  check_top(json, where);
  auto pipeline = std::make_shared<Pipeline>();
  pipeline->where = where;
  pipeline->normalizers = normalizers_from_json(json.value("normalizer", Json()), where);
  pipeline->pre_tokenizers = pre_tokenizers_from_json(json.value("pre_tokenizer", Json()), where);
  pipeline->decoders = decoders_from_json(json.value("decoder", Json()), where);
  ModelReader(json, config, *pipeline).read();
  apply_post_processor(json.value("post_processor", Json()), where + ": post_processor", *pipeline);
  return pipeline;
}

}  // namespace lrqat::text
