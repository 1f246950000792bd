#include "lrqat/text/added_tokens.h"

#include "lrqat/base/error.h"
#include "lrqat/text/pattern.h"
#include "lrqat/text/unicode.h"

namespace lrqat::text {
namespace {

bool starts_with_word_character(std::string_view text) {
  // \w of Rust's regex crate.
  static const Pattern kWord(
      Regex(R"(\A[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{200C}\x{200D}])", "word character"));
  return !text.empty() && MatchIterator(kWord, text.substr(0, utf8_length(text[0]))).next().has_value();
}

bool ends_with_word_character(std::string_view text) {
  if (text.empty()) return false;
  std::size_t start = text.size();
  previous_character(text, start);
  return starts_with_word_character(text.substr(start));
}

std::size_t skip_white_space_left(std::string_view text, std::size_t end) {
  while (end > 0) {
    std::size_t start = end;
    if (!is_white_space(previous_character(text, start))) break;
    end = start;
  }
  return end;
}

std::size_t skip_white_space_right(std::string_view text, std::size_t begin) {
  while (begin < text.size()) {
    std::size_t end = begin;
    if (!is_white_space(next_character(text, end))) break;
    begin = end;
  }
  return begin;
}

bool inside_word(std::string_view text, const Span& span) {
  return ends_with_word_character(text.substr(0, span.begin)) ||
         starts_with_word_character(text.substr(span.end));
}

}  // namespace

AddedTokens::AddedTokens(std::vector<AddedToken> tokens, const Normalize& normalize)
    : tokens_(std::move(tokens)) {
  std::vector<std::pair<std::string, std::int32_t>> raw;
  std::vector<std::pair<std::string, std::int32_t>> normalized;
  for (std::size_t i = 0; i < tokens_.size(); ++i) {
    const AddedToken& token = tokens_[i];
    decoded_.push_back(token.normalized ? normalize(token.content) : token.content);
    (token.normalized ? normalized : raw).emplace_back(decoded_.back(), token.id);
    index_[token.id] = i;
  }
  raw_ = StringSet(std::move(raw));
  normalized_ = StringSet(std::move(normalized));
}

const AddedToken* AddedTokens::find(std::int32_t id) const {
  const auto entry = index_.find(id);
  return entry == index_.end() ? nullptr : &tokens_[entry->second];
}

const std::string& AddedTokens::decoded(std::int32_t id) const { return decoded_[index_.at(id)]; }

std::vector<AddedTokens::Part> AddedTokens::split(std::string_view text, bool normalized) const {
  const StringSet& set = normalized ? normalized_ : raw_;
  std::vector<Part> parts;
  std::size_t done = 0;    // parts cover [0, done)
  std::size_t search = 0;  // a match that is discarded is not searched again
  while (const std::optional<StringSet::Match> match = set.find(text, search)) {
    const AddedToken& token = *find(match->value);
    Span span = match->span;
    search = span.end;
    if (token.single_word && inside_word(text, span)) continue;
    if (token.lstrip) span.begin = std::max(skip_white_space_left(text, span.begin), done);
    if (token.rstrip) span.end = skip_white_space_right(text, span.end);
    if (done < span.begin) parts.push_back({std::nullopt, {done, span.begin}});
    parts.push_back({token.id, span});
    done = span.end;
  }
  if (done < text.size()) parts.push_back({std::nullopt, {done, text.size()}});
  return parts;
}

}  // namespace lrqat::text
