// A tokenizer as a GGUF file holds it: the tokenizer.* keys of its metadata as plain values (docs/gguf.md of
// ggml, "Tokenizer"). Readers and writers of GGUF fill it or take it; nothing here knows the file format.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace lrqat::text {

// tokenizer.ggml.token_type, the types of SentencePiece.
enum class TokenType : std::int32_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6
};

struct GgufVocabulary {
  std::string model;  // tokenizer.ggml.model: "gpt2" (byte-level BPE) or "llama" (SentencePiece BPE)
  std::string pre;  // tokenizer.ggml.pre: name of the pre-tokenizer, for "gpt2"; empty: the key is not there
  std::vector<std::string> tokens;        // tokenizer.ggml.tokens
  std::vector<float> scores;              // tokenizer.ggml.scores; empty: no such key
  std::vector<std::int32_t> token_types;  // tokenizer.ggml.token_type; empty: no such key, all normal
  std::vector<std::string> merges;        // tokenizer.ggml.merges, "left right"; empty for "llama"

  std::optional<std::int32_t> bos_token_id;  // tokenizer.ggml.bos_token_id …
  std::optional<std::int32_t> eos_token_id;
  std::optional<std::int32_t> unknown_token_id;
  std::optional<std::int32_t> padding_token_id;

  std::optional<bool>
      add_bos_token;  // tokenizer.ggml.add_bos_token …; without them llama.cpp's defaults hold
  std::optional<bool> add_eos_token;
  std::optional<bool> add_space_prefix;

  bool remove_extra_whitespaces =
      false;  // tokenizer.ggml.remove_extra_whitespaces: runs of spaces count as one

  std::string chat_template;  // tokenizer.chat_template; empty: none

  // Made by Tokenizer::to_gguf: what llama.cpp will do differently from this tokenizer (one sentence each),
  // because the format has no place for it. Not a key of the file.
  std::vector<std::string> warnings;
};

}  // namespace lrqat::text
