// Tokenizers: text to ids and back. One class for the three ways in which vocabularies come: tokenizer.json
// of Hugging Face `tokenizers`, SentencePiece's tokenizer.model, and the vocabulary inside a GGUF file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lrqat/text/gguf_vocabulary.h"

namespace lrqat::text {

struct Pipeline;

// Immutable and cheap to copy; every member may be called from several threads at once.
class Tokenizer {
 public:
  explicit Tokenizer(std::shared_ptr<const Pipeline> pipeline);

  // The ids of `text`. Added tokens written out in the text ("<|im_start|>") are recognised, as `tokenizers`
  // does. `add_special_tokens` adds what the tokenizer's own template (or add_bos_token flag) adds, and
  // nothing else. Bytes that are not UTF-8 count as U+FFFD (one for each maximal broken part, as Python's
  // errors="replace").
  std::vector<std::int32_t> encode(std::string_view text, bool add_special_tokens = true) const;

  // The text of `ids`, always valid UTF-8: broken byte sequences come out as U+FFFD. Ids without a token give
  // nothing (a model's vocabulary may be padded beyond its tokenizer's).
  std::string decode(std::span<const std::int32_t> ids, bool skip_special_tokens = false) const;

  // The same for a part of a text: `at_start` says whether it is the first part. Not streamable: the text of
  // a part may change with what comes later.
  std::string decode_part(std::span<const std::int32_t> ids, bool skip_special_tokens, bool at_start) const;
  bool is_streamable() const;

  std::int64_t vocab_size() const;  // largest id + 1
  std::optional<std::int32_t> bos_token_id() const;
  std::optional<std::int32_t> eos_token_id() const;
  std::optional<std::int32_t> unk_token_id() const;
  std::optional<std::int32_t> pad_token_id() const;

  // The token as the vocabulary spells it ("Ġthe", "▁the", "<0x0A>"), and back.
  std::optional<std::string> id_to_piece(std::int32_t id) const;
  std::optional<std::int32_t> piece_to_id(std::string_view piece) const;
  bool is_special(std::int32_t id) const;  // control tokens, dropped by skip_special_tokens

  const std::string& chat_template() const;  // Jinja text; empty where there is none

  // The vocabulary for a GGUF file, padded with unused tokens to `padded_size` where that is larger. Error
  // where llama.cpp has no such tokenizer; small differences are listed in `warnings`.
  GgufVocabulary to_gguf(std::int64_t padded_size = 0) const;

 private:
  std::shared_ptr<const Pipeline> pipeline_;
};

// Decoding one id at a time, for generation: add() returns the text that is certain by now (complete UTF-8
// characters only), finish() what is left. The pieces joined equal Tokenizer::decode of all ids.
class TokenStream {
 public:
  explicit TokenStream(Tokenizer tokenizer, bool skip_special_tokens = true);

  std::string add(std::int32_t id);
  std::string finish();

 private:
  Tokenizer tokenizer_;
  bool skip_special_tokens_;
  std::vector<std::int32_t> ids_;  // since the last place where the text could be cut
  std::size_t emitted_ = 0;        // bytes of their text already returned
  bool at_start_ = true;           // no text has been cut off yet
};

// A folder (tokenizer.json, else tekken.json, else tokenizer.model, else vocab.json or encoder.json with
// merges.txt or vocab.bpe; tokenizer_config.json beside them is honoured as transformers does) or one of
// these files.
Tokenizer load_tokenizer(const std::filesystem::path& folder_or_file);

Tokenizer load_tokenizer_json(const std::filesystem::path& path);  // or tekken.json
Tokenizer load_sentencepiece_model(const std::filesystem::path& path);
Tokenizer load_gpt2_files(const std::filesystem::path& vocabulary, const std::filesystem::path& merges);
Tokenizer load_llama2c_tokenizer(const std::filesystem::path& path);  // llama2.c's tokenizer.bin

Tokenizer tokenizer_from_vocabulary(const GgufVocabulary& vocabulary);

}  // namespace lrqat::text
