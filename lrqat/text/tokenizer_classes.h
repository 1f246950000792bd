// Tokenizers saved without tokenizer.json: vocab.json with merges.txt, or SentencePiece's tokenizer.model.
// What else they do is in the code of their class in transformers; here each class is a row of a table, and
// the tokenizer.json that does the same is written from it.
#pragma once

#include <filesystem>

#include "lrqat/base/json.h"
#include "lrqat/text/gguf_vocabulary.h"
#include "lrqat/text/tokenizer_config.h"

namespace lrqat::text {

// The config gets what the class says where the files say nothing: names of special tokens, add_bos_token.
// A class that no row names is an Error; where none is named, the model's family decides, else it is GPT-2's.
Json tokenizer_json_of_byte_level(const std::filesystem::path& vocabulary,
                                  const std::filesystem::path& merges, TokenizerConfig& config);

// Whether the config's class has a normalisation that replaces SentencePiece's own.
bool is_sentencepiece_class(const TokenizerConfig& config);
Json tokenizer_json_of_sentencepiece(const GgufVocabulary& vocabulary, TokenizerConfig& config);

}  // namespace lrqat::text
