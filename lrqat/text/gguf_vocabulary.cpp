// A pipeline from a vocabulary as GGUF files hold it; SentencePiece models and llama2.c's vocabularies come
// this way too.
#include "lrqat/text/gguf_vocabulary.h"

#include "lrqat/base/error.h"
#include "lrqat/text/pipeline.h"
#include "lrqat/text/pre_names.h"
#include "lrqat/text/tokenizer.h"

namespace lrqat::text {
namespace {

TokenType type_of(const GgufVocabulary& vocabulary, std::size_t id) {
  return vocabulary.token_types.empty() ? TokenType::kNormal
                                        : static_cast<TokenType>(vocabulary.token_types[id]);
}

void check_sizes(const GgufVocabulary& vocabulary, const std::string& where) {
  const std::size_t count = vocabulary.tokens.size();
  if (count == 0) fail(where, ": the vocabulary has no tokens");
  if (!vocabulary.token_types.empty() && vocabulary.token_types.size() != count) {
    fail(where, ": ", vocabulary.token_types.size(), " token types for ", count, " tokens");
  }
  if (!vocabulary.scores.empty() && vocabulary.scores.size() != count) {
    fail(where, ": ", vocabulary.scores.size(), " scores for ", count, " tokens");
  }
  for (const auto& id : {vocabulary.bos_token_id, vocabulary.eos_token_id, vocabulary.unknown_token_id,
                         vocabulary.padding_token_id}) {
    if (id && (*id < 0 || static_cast<std::size_t>(*id) >= count)) {
      fail(where, ": special token id ", *id, " is outside the vocabulary of ", count, " tokens");
    }
  }
}

std::shared_ptr<Vocabulary> make_vocabulary(const GgufVocabulary& vocabulary, const std::string& where) {
  auto out = std::make_shared<Vocabulary>();
  for (std::size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    // Unused tokens may repeat each other's names; nothing is ever encoded to them.
    if (type_of(vocabulary, id) == TokenType::kUnused && out->id_of(vocabulary.tokens[id])) continue;
    out->add(static_cast<std::int64_t>(id), vocabulary.tokens[id], where);
  }
  return out;
}

std::vector<AddedToken> make_added(const GgufVocabulary& vocabulary) {
  std::vector<AddedToken> added;
  for (std::size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    const TokenType type = type_of(vocabulary, id);
    if (type != TokenType::kControl && type != TokenType::kUserDefined && type != TokenType::kUnknown)
      continue;
    AddedToken token;
    token.id = static_cast<std::int32_t>(id);
    token.content = vocabulary.tokens[id];
    token.special = type != TokenType::kUserDefined;
    added.push_back(std::move(token));
  }
  return added;
}

// The tokens that came from files beside the vocabulary, and their types.
void append_added(const std::vector<AddedToken>& added, const Vocabulary& vocabulary, GgufVocabulary& gguf) {
  const auto old_size = static_cast<std::int64_t>(gguf.tokens.size());
  for (std::int64_t id = old_size; id < vocabulary.size(); ++id) {
    gguf.tokens.push_back(vocabulary.contains(id) ? vocabulary.piece(static_cast<std::int32_t>(id))
                                                  : concat("[PAD", id, "]"));
  }
  if (!gguf.scores.empty()) gguf.scores.resize(gguf.tokens.size(), 0.0F);
  if (gguf.token_types.empty()) return;
  gguf.token_types.resize(gguf.tokens.size(), static_cast<std::int32_t>(TokenType::kUnused));
  for (const AddedToken& token : added) {
    auto& type = gguf.token_types[static_cast<std::size_t>(token.id)];
    if (type == static_cast<std::int32_t>(TokenType::kUnknown)) continue;
    type = static_cast<std::int32_t>(token.special ? TokenType::kControl : TokenType::kUserDefined);
  }
}

void set_template(Pipeline& pipeline, bool add_bos, bool add_eos) {
  const GgufVocabulary& gguf = pipeline.gguf;
  if (gguf.add_bos_token.value_or(add_bos)) {
    if (!gguf.bos_token_id) fail(pipeline.where, ": add_bos_token is set, but there is no bos_token_id");
    pipeline.prefix = {*gguf.bos_token_id};
  }
  if (gguf.add_eos_token.value_or(add_eos)) {
    if (!gguf.eos_token_id) fail(pipeline.where, ": add_eos_token is set, but there is no eos_token_id");
    pipeline.suffix = {*gguf.eos_token_id};
  }
}

void fill_gpt2(Pipeline& pipeline) {
  const PreName& pre = find_pre_name(pipeline.gguf.pre, pipeline.where);
  for (const std::string_view pattern : pre.patterns) {
    pipeline.pre_tokenizers.steps.push_back(make_isolating_split(std::string(pattern), pipeline.where));
  }
  pipeline.pre_tokenizers.byte_level = true;
  std::vector<std::pair<std::string, std::string>> merges;
  for (const std::string& merge : pipeline.gguf.merges) merges.push_back(split_merge(merge, pipeline.where));
  if (merges.empty()) fail(pipeline.where, ": a \"gpt2\" vocabulary without merges");
  MergeBpeOptions options;
  options.byte_level = true;
  options.ignore_merges = pre.ignore_merges;  // bytes without a piece give nothing, whatever unknown_token_id
  pipeline.model = make_merge_bpe(pipeline.vocabulary, merges, options, pipeline.where);
  pipeline.decoders = byte_level_decoders();
  set_template(pipeline, pre.add_bos && pipeline.gguf.bos_token_id, false);
}

void fill_llama(Pipeline& pipeline) {
  const GgufVocabulary& gguf = pipeline.gguf;
  if (gguf.scores.empty()) fail(pipeline.where, ": a \"llama\" vocabulary without scores");
  const bool prefix = gguf.add_space_prefix.value_or(true);
  pipeline.normalizers.push_back(make_sentencepiece_normalizer(prefix, gguf.remove_extra_whitespaces));
  std::vector<bool> mergeable;
  UnknownRule unknown;
  for (std::size_t id = 0; id < gguf.tokens.size(); ++id) {
    mergeable.push_back(type_of(gguf, id) == TokenType::kNormal);
    unknown.byte_fallback = unknown.byte_fallback || type_of(gguf, id) == TokenType::kByte;
  }
  unknown.unknown_id = gguf.unknown_token_id;
  unknown.fuse = true;
  pipeline.model = make_score_bpe(pipeline.vocabulary, gguf.scores, std::move(mergeable), unknown);
  pipeline.decoders = sentencepiece_decoders(prefix);
  set_template(pipeline, gguf.bos_token_id.has_value(), false);
  if (gguf.remove_extra_whitespaces) {
    pipeline.gguf.warnings.push_back("llama.cpp keeps runs of spaces; this tokenizer makes them one");
  }
}

}  // namespace

std::shared_ptr<Pipeline> pipeline_from_vocabulary(const GgufVocabulary& vocabulary, const std::string& where,
                                                   const TokenizerConfig& config) {
  check_sizes(vocabulary, where);
  auto pipeline = std::make_shared<Pipeline>();
  pipeline->where = where;
  pipeline->gguf = vocabulary;
  const auto pieces = make_vocabulary(vocabulary, where);
  std::vector<AddedToken> added = make_added(vocabulary);
  add_config_tokens(config, *pieces, added);
  append_added(added, *pieces, pipeline->gguf);
  pipeline->vocabulary = pieces;
  pipeline->added = {std::move(added), [](std::string_view text) { return std::string(text); }};
  pipeline->bos_token_id = vocabulary.bos_token_id;
  pipeline->eos_token_id = vocabulary.eos_token_id;
  pipeline->unk_token_id = vocabulary.unknown_token_id;
  pipeline->pad_token_id = vocabulary.padding_token_id;
  pipeline->chat_template = vocabulary.chat_template;
  if (vocabulary.model == "gpt2") {
    fill_gpt2(*pipeline);
  } else if (vocabulary.model == "llama") {
    fill_llama(*pipeline);
  } else {
    fail(where, ": tokenizer model \"", vocabulary.model,
         "\" is not known; known: gpt2 (byte-level BPE), llama (SentencePiece BPE)");
  }
  return pipeline;
}

Tokenizer tokenizer_from_vocabulary(const GgufVocabulary& vocabulary) {
  return Tokenizer(pipeline_from_vocabulary(vocabulary, "the GGUF vocabulary"));
}

}  // namespace lrqat::text
