// Normalizers: text to text, before it is cut into words (normalizers of Hugging Face `tokenizers`).
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lrqat/base/json.h"

namespace lrqat::text {

class Normalizer {
 public:
  virtual ~Normalizer() = default;
  // `at_start`: `text` begins where the whole input begins.
  virtual std::string normalize(std::string_view text, bool at_start) const = 0;
};

using Normalizers = std::vector<std::unique_ptr<const Normalizer>>;

Normalizers normalizers_from_json(const Json& json, const std::string& where);

// SentencePiece's own: a space in front of a text that is not empty (`add_prefix`), runs of spaces made one
// and those at the ends dropped (`collapse_spaces`), then every space is U+2581.
std::unique_ptr<const Normalizer> make_sentencepiece_normalizer(bool add_prefix, bool collapse_spaces);

// All of them in order.
std::string normalize_all(const Normalizers& normalizers, std::string_view text, bool at_start);

}  // namespace lrqat::text
