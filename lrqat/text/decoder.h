// Decoders: pieces back to text (decoders of Hugging Face `tokenizers`). Each step maps a list of pieces to
// another; the text is what is left, joined.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "lrqat/base/json.h"

namespace lrqat::text {

class Decoder {
 public:
  virtual ~Decoder() = default;
  // `at_start`: the first piece is the first of the whole text (some steps drop a space there).
  virtual void decode(std::vector<std::string>& pieces, bool at_start) const = 0;
  // False where the text of some pieces may change with pieces that come later, other than by completing a
  // character: such text cannot be streamed.
  virtual bool is_streamable() const { return true; }
};

using Decoders = std::vector<std::unique_ptr<const Decoder>>;

Decoders decoders_from_json(const Json& json, const std::string& where);
Decoders byte_level_decoders();
// SentencePiece: ▁ to space, bytes to characters; `strip_space` drops the space that was put before the text.
Decoders sentencepiece_decoders(bool strip_space);

// The byte that a piece such as "<0x0A>" stands for, else -1.
int byte_of_piece(const std::string& piece);

}  // namespace lrqat::text
