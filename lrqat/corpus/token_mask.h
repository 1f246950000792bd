// Which tokens of a document are scored.
#pragma once

#include <cstdint>
#include <vector>

#include "lrqat/corpus/example.h"
#include "lrqat/text/tokenizer.h"

namespace lrqat::corpus {

// One a token of `ids`, what the tokenizer makes of document.text: 1 where a part of the token lies in a
// scored span. Where tokens lie is found by decoding them; of tokenizers that do not give a text back as it
// was (they normalize it), by tokenizing the text up to each border of a span: then a token behind which the
// two differ counts as lying across the border.
std::vector<std::uint8_t> token_mask(const Document& document, const std::vector<std::int32_t>& ids,
                                     const text::Tokenizer& tokenizer);

}  // namespace lrqat::corpus
