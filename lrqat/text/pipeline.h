// What a Tokenizer is made of. Loaders fill it; tokenizer.cpp runs it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lrqat/text/added_tokens.h"
#include "lrqat/text/decoder.h"
#include "lrqat/text/gguf_vocabulary.h"
#include "lrqat/text/normalizer.h"
#include "lrqat/text/pre_tokenizer.h"
#include "lrqat/text/tokenizer_config.h"
#include "lrqat/text/vocabulary.h"
#include "lrqat/text/word_model.h"

namespace lrqat::text {

struct Pipeline {
  std::string where;  // names the file in messages
  std::shared_ptr<const Vocabulary> vocabulary;
  AddedTokens added;
  Normalizers normalizers;
  PreTokenizers pre_tokenizers;
  std::unique_ptr<const WordModel> model;
  Decoders decoders;
  std::vector<std::int32_t> prefix;  // what the template puts before and after a text
  std::vector<std::int32_t> suffix;

  std::optional<std::int32_t> bos_token_id;
  std::optional<std::int32_t> eos_token_id;
  std::optional<std::int32_t> unk_token_id;
  std::optional<std::int32_t> pad_token_id;
  std::string chat_template;

  // The vocabulary as a GGUF file holds it, but for what follows from the members above; `gguf_problem` says
  // why there is none.
  GgufVocabulary gguf;
  std::string gguf_problem;
};

// Adds the vocabulary's special ids from their pieces' names; empty names are skipped.
std::optional<std::int32_t> id_of_piece(const Pipeline& pipeline, std::string_view piece);

// From tokens, types and merges or scores (Tokenizer::to_gguf gives the same back), and the tokens of
// `config`.
std::shared_ptr<Pipeline> pipeline_from_vocabulary(const GgufVocabulary& vocabulary, const std::string& where,
                                                   const TokenizerConfig& config = {});

}  // namespace lrqat::text
