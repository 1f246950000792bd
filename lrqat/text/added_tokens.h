// Added tokens: tokens that are looked for in the text before anything else happens to it, with the options
// of Hugging Face `tokenizers` (tokenizer/added_vocabulary.rs).
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "lrqat/text/string_set.h"

namespace lrqat::text {

struct AddedToken {
  std::int32_t id = 0;
  std::string content;
  bool single_word = false;  // only where no word character is next to it
  bool lstrip = false;       // takes the white space on its left with it
  bool rstrip = false;
  bool normalized = false;  // looked for after normalisation, itself normalised
  bool special = false;     // left out by skip_special_tokens
};

class AddedTokens {
 public:
  using Normalize = std::function<std::string(std::string_view)>;
  // A part of a text: an added token's id, or plain text in [begin, end).
  struct Part {
    std::optional<std::int32_t> id;
    Span span;
  };

  // Builds the search structures; `normalize` is the tokenizer's normalizer.
  AddedTokens() = default;
  AddedTokens(std::vector<AddedToken> tokens, const Normalize& normalize);

  const std::vector<AddedToken>& tokens() const { return tokens_; }
  const AddedToken* find(std::int32_t id) const;
  // The token as decoding sees it: normalised where the token is.
  const std::string& decoded(std::int32_t id) const;

  // Cuts `text` at the tokens that are looked for before normalisation, or (`normalized`) after it.
  std::vector<Part> split(std::string_view text, bool normalized) const;

 private:
  std::vector<AddedToken> tokens_;
  std::vector<std::string> decoded_;
  std::unordered_map<std::int32_t, std::size_t> index_;
  StringSet raw_;
  StringSet normalized_;
};

}  // namespace lrqat::text
