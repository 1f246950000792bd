// tokenizer.json of Hugging Face `tokenizers`: every key and option is known or an error.
#include <algorithm>
#include <map>

#include "lrqat/base/error.h"
#include "lrqat/text/component.h"
#include "lrqat/text/loaders.h"
#include "lrqat/text/pipeline.h"
#include "lrqat/text/post_processor.h"
#include "lrqat/text/pre_names.h"
#include "lrqat/text/tokenizer.h"
#include "lrqat/text/unicode.h"

namespace lrqat::text {
namespace {

// `truncation` and `padding` are what the library last did to a batch; transformers sets them anew at every
// call.
constexpr std::string_view kTopKeys[] = {"version",        "truncation", "padding",
                                         "added_tokens",   "normalizer", "pre_tokenizer",
                                         "post_processor", "decoder",    "model"};
constexpr std::string_view kModelKeys[] = {"type",
                                           "dropout",
                                           "unk_token",
                                           "continuing_subword_prefix",
                                           "end_of_word_suffix",
                                           "fuse_unk",
                                           "byte_fallback",
                                           "ignore_merges",
                                           "vocab",
                                           "merges"};

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

std::shared_ptr<const Vocabulary> read_vocabulary(const Json& model, const std::vector<AddedToken>& added,
                                                  const std::string& where) {
  auto out = std::make_shared<Vocabulary>();
  const Json vocab = json_get<Json>(model, "vocab", where);
  if (!vocab.is_object()) fail(where, ": vocab is no object of pieces and ids");
  for (const auto& [piece, id] : vocab.items()) {
    if (!id.is_number_integer()) fail(where, ": vocab: the id of \"", piece, "\" is no whole number");
    out->add(id.get<std::int64_t>(), piece, where);
  }
  for (const AddedToken& token : added) {
    const auto known = out->id_of(token.content);
    if (known && *known != token.id) {
      fail(where, ": added token \"", token.content, "\" has id ", token.id, ", the vocabulary gives it ",
           *known);
    }
    if (!known) out->add(token.id, token.content, where);
  }
  return out;
}

std::vector<std::pair<std::string, std::string>> read_merges(const Json& model, const std::string& where) {
  std::vector<std::pair<std::string, std::string>> out;
  for (const Json& merge : json_get<std::vector<Json>>(model, "merges", where)) {
    if (merge.is_string()) {
      out.push_back(split_merge(merge.get<std::string>(), where));
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      out.emplace_back(merge[0].get<std::string>(), merge[1].get<std::string>());
    } else {
      fail(where, ": merge ", json_excerpt(merge),
           " is neither \"left right\" nor [\"left\", \"right\"]");
    }
  }
  return out;
}

void refuse_option(const Json& model, const char* key, const std::string& where) {
  const auto it = model.find(key);
  const bool off = it == model.end() || it->is_null() ||
                   (it->is_string() && it->get<std::string>().empty()) ||
                   (it->is_number() && it->get<double>() == 0.0);
  if (!off) fail(where, ": option \"", key, "\" is ", json_excerpt(*it), ", which is not supported");
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

// The tokens and types that a GGUF file would hold.
void fill_gguf_tokens(Pipeline& pipeline) {
  GgufVocabulary& gguf = pipeline.gguf;
  for (std::int64_t id = 0; id < pipeline.vocabulary->size(); ++id) {
    const auto token_id = static_cast<std::int32_t>(id);
    if (!pipeline.vocabulary->contains(id)) {
      gguf.tokens.push_back(concat("[PAD", id, "]"));
      gguf.token_types.push_back(static_cast<std::int32_t>(TokenType::kUnused));
      continue;
    }
    gguf.tokens.push_back(pipeline.vocabulary->piece(token_id));
    const AddedToken* added = pipeline.added.find(token_id);
    TokenType type = TokenType::kNormal;
    if (added != nullptr)
      type = added->special ? TokenType::kControl : TokenType::kUserDefined;
    else if (gguf.model == "llama" && byte_of_piece(gguf.tokens.back()) >= 0)
      type = TokenType::kByte;
    gguf.token_types.push_back(static_cast<std::int32_t>(type));
  }
}

void fill_gguf_gpt2(Pipeline& pipeline, bool ignore_merges,
                    const std::vector<std::pair<std::string, std::string>>& merges) {
  std::vector<std::string> patterns;
  for (const auto& step : pipeline.pre_tokenizers.steps) {
    const auto pattern = step->as_isolating_pattern();
    if (!pattern) {
      pipeline.gguf_problem = "llama.cpp has no pre-tokenizer that cuts as this one does";
      return;
    }
    if (!pattern->empty()) patterns.push_back(*pattern);
  }
  const PreName* pre = pre_name_of(patterns, ignore_merges);
  if (pre == nullptr || !pipeline.normalizers.empty()) {
    pipeline.gguf_problem = "llama.cpp has no name for this combination of normalizers and pre-tokenizers";
    return;
  }
  pipeline.gguf.model = "gpt2";
  pipeline.gguf.pre = pre->name;
  for (const auto& [left, right] : merges) pipeline.gguf.merges.push_back(left + " " + right);
  fill_gguf_tokens(pipeline);
}

// SentencePiece's kind: a piece's score is what its first merge's rank says.
void fill_gguf_llama(Pipeline& pipeline, const std::vector<std::pair<std::string, std::string>>& merges) {
  const std::string probe = normalize_all(pipeline.normalizers, "a b", true);
  const std::string mark(kMetaSpace);
  if (probe != mark + "a" + mark + "b" && probe != "a" + mark + "b") {
    pipeline.gguf_problem = "llama.cpp's SentencePiece kind normalises otherwise";
    return;
  }
  pipeline.gguf.model = "llama";
  pipeline.gguf.add_space_prefix = probe.starts_with(mark);
  fill_gguf_tokens(pipeline);
  std::map<std::string, float> rank;
  for (std::size_t i = 0; i < merges.size(); ++i) {
    rank.try_emplace(merges[i].first + merges[i].second, -static_cast<float>(i) - 1.0F);
  }
  for (const std::string& token : pipeline.gguf.tokens) {
    const auto found = rank.find(token);
    pipeline.gguf.scores.push_back(found == rank.end() ? 0.0F : found->second);
  }
}

void check_top(const Json& json, const std::string& where) {
  if (!json.is_object()) fail(where, ": expected a JSON object");
  for (const auto& [key, value] : json.items()) {
    if (std::find(std::begin(kTopKeys), std::end(kTopKeys), key) == std::end(kTopKeys)) {
      fail(where, ": key \"", key, "\" is not known");
    }
  }
}

}  // namespace

std::shared_ptr<Pipeline> pipeline_from_json(const Json& json, const std::string& where) {
  check_top(json, where);
  const Json model = json_get<Json>(json, "model", where);
  const std::string model_where = where + ": model";
  // Files from before 2020 have no type; they are BPE where there are merges.
  const std::string type = model.is_object() && !model.contains("type") && model.contains("merges")
                               ? "BPE"
                               : component_type(model, model_where);
  if (type != "BPE") fail_unknown_type(type, {"BPE"}, model_where);
  check_options(model, kModelKeys, model_where);

  auto pipeline = std::make_shared<Pipeline>();
  pipeline->where = where;
  pipeline->normalizers = normalizers_from_json(json.value("normalizer", Json()), where);
  pipeline->pre_tokenizers = pre_tokenizers_from_json(json.value("pre_tokenizer", Json()), where);
  pipeline->decoders = decoders_from_json(json.value("decoder", Json()), where);
  std::vector<AddedToken> added = added_tokens(json, where);
  pipeline->vocabulary = read_vocabulary(model, added, model_where);
  pipeline->added = AddedTokens(std::move(added), [&](std::string_view text) {
    return normalize_all(pipeline->normalizers, text, true);
  });
  MergeBpeOptions options = read_options(model, *pipeline->vocabulary, model_where);
  options.byte_level = pipeline->pre_tokenizers.byte_level;
  pipeline->unk_token_id = options.unknown.unknown_id;
  const auto merges = read_merges(model, model_where);
  pipeline->model = make_merge_bpe(pipeline->vocabulary, merges, options, model_where);
  apply_post_processor(json.value("post_processor", Json()), where + ": post_processor", *pipeline);
  if (options.byte_level) {
    fill_gguf_gpt2(*pipeline, options.ignore_merges, merges);
  } else if (options.unknown.byte_fallback && pipeline->pre_tokenizers.steps.empty()) {
    fill_gguf_llama(*pipeline, merges);
  } else {
    pipeline->gguf_problem = "it is neither byte-level BPE nor SentencePiece's kind";
  }
  return pipeline;
}

}  // namespace lrqat::text
