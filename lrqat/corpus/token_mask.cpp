#include "lrqat/corpus/token_mask.h"

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>

#include "lrqat/text/unicode.h"

namespace lrqat::corpus {
namespace {

using Ids = std::vector<std::int32_t>;
using Mask = std::vector<std::uint8_t>;

std::size_t common(const Ids& a, const Ids& b) {
  return static_cast<std::size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
}

// Where the text of each token ends, of tokens that give the text back; of one that ends within a character,
// the character's first byte is the last of it.
std::optional<std::vector<std::size_t>> token_ends(std::string_view text, const Ids& ids,
                                                   const text::Tokenizer& tokenizer) {
  constexpr std::size_t kMostOfCharacter = 4;
  std::vector<std::size_t> ends;
  std::size_t at = 0;
  Ids open;  // tokens whose text begins at `at`: one, or those of a character that is not complete
  for (const std::int32_t id : ids) {
    open.push_back(id);
    std::string part =
        tokenizer.decode_part(open, /*skip_special_tokens=*/false, /*at_start=*/open.size() > ends.size());
    if (text.substr(at).starts_with(part)) {
      at += part.size();
      ends.push_back(at);
      open.clear();
      continue;
    }
    while (part.ends_with(text::kReplacementCharacter))
      part.resize(part.size() - text::kReplacementCharacter.size());
    if (!text.substr(at).starts_with(part) || open.size() == kMostOfCharacter) return std::nullopt;
    ends.push_back(at + part.size() + 1);
  }
  return at == text.size() && open.empty() ? std::optional(ends) : std::nullopt;
}

Mask mask_by_places(const std::vector<std::size_t>& ends, const std::vector<Span>& scored) {
  Mask mask;
  std::size_t begin = 0, span = 0;
  for (const std::size_t end : ends) {
    while (span < scored.size() && scored[span].end <= begin) ++span;
    mask.push_back(span < scored.size() && scored[span].begin < std::max(end, begin + 1) ? 1 : 0);
    begin = end;
  }
  return mask;
}

// The tokens of the first `bytes` of the text that `ids` have too.
std::size_t tokens_before(const Document& document, std::size_t bytes, const Ids& ids,
                          const text::Tokenizer& tokenizer, bool across) {
  if (bytes == 0) return 0;
  if (bytes == document.text.size()) return ids.size();
  const Ids prefix = tokenizer.encode(document.text.substr(0, bytes), /*add_special_tokens=*/false);
  const std::size_t same = common(ids, prefix);
  return same + (across && same < prefix.size() ? 1 : 0);
}

Mask mask_by_prefixes(const Document& document, const Ids& ids, const text::Tokenizer& tokenizer) {
  Mask mask(ids.size(), 0);
  for (const Span& span : document.scored) {
    const std::size_t begin = tokens_before(document, span.begin, ids, tokenizer, /*across=*/false);
    const std::size_t end =
        std::min(ids.size(), tokens_before(document, span.end, ids, tokenizer, /*across=*/true));
    for (std::size_t i = begin; i < end; ++i) mask[i] = 1;
  }
  return mask;
}

}  // namespace

Mask token_mask(const Document& document, const Ids& ids, const text::Tokenizer& tokenizer) {
  if (document.scored.empty()) return Mask(ids.size(), 1);
  const Ids text = tokenizer.encode(document.text, /*add_special_tokens=*/false);
  const auto ends = token_ends(document.text, text, tokenizer);
  const Mask inner =
      ends ? mask_by_places(*ends, document.scored) : mask_by_prefixes(document, text, tokenizer);
  // Around them stands what the tokenizer's template adds: in front it is seen, behind the text it is as its
  // end.
  const auto place = std::search(ids.begin(), ids.end(), text.begin(), text.end());
  Mask mask(static_cast<std::size_t>(place - ids.begin()), 0);
  mask.insert(mask.end(), inner.begin(), inner.end());
  mask.resize(ids.size(), document.scored.back().end == document.text.size() ? 1 : 0);
  return mask;
}

}  // namespace lrqat::corpus
