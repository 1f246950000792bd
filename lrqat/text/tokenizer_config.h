// What the files beside a tokenizer say about it (tokenizer_config.json, special_tokens_map.json,
// added_tokens.json, config.json), as transformers reads them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "lrqat/text/added_tokens.h"
#include "lrqat/text/vocabulary.h"

namespace lrqat::text {

struct TokenizerConfig {
  static constexpr std::int32_t kNoId = -1;  // of a token that no file gives an id

  std::string where = "tokenizer_config.json";
  std::string tokenizer_class;  // without "Fast"; empty where the files name none
  std::string family_class;     // that of the model's family (config.json)
  std::vector<AddedToken> tokens;
  bool has_options = false;  // the tokens with ids have their options too (added_tokens_decoder)
  std::map<std::string, std::string> named;  // "bos_token" …; empty text: said to be none
  std::optional<bool> add_bos_token;
  std::optional<bool> add_eos_token;
  std::optional<bool> add_prefix_space;
  bool legacy = false;  // Llama: a space is put in front after every special token, not only at the start
  std::string chat_template;
};

// Of a folder; files that are not there say nothing.
TokenizerConfig read_tokenizer_config(const std::filesystem::path& folder);

// Adds the config's tokens. One that the vocabulary has keeps its id and takes the config's options; another
// one gets the id that the config gives it where that is free, else the next one after all others.
void add_config_tokens(const TokenizerConfig& config, Vocabulary& vocabulary, std::vector<AddedToken>& added);

}  // namespace lrqat::text
