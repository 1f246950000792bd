// What to cut a text by: a plain string, a regular expression or a test of characters; and what happens to
// the matches (SplitDelimiterBehavior of Hugging Face `tokenizers`).
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "lrqat/base/json.h"
#include "lrqat/text/regex.h"

namespace lrqat::text {

using CharacterTest = bool (*)(char32_t);

class Pattern {
 public:
  explicit Pattern(std::string text) : what_(std::move(text)) {}
  explicit Pattern(Regex regex) : what_(std::move(regex)) {}
  explicit Pattern(CharacterTest test) : what_(test) {}

  // {"String": "…"} or {"Regex": "…"} of tokenizer.json; the latter in Oniguruma's syntax.
  static Pattern from_json(const Json& json, const std::string& where);

  // First match that begins at `from` or later. A regular expression knows the characters of Unicode 14.
  std::optional<Span> find(std::string_view subject, std::size_t from) const;
  bool is_regex() const { return std::holds_alternative<Regex>(what_); }

 private:
  std::variant<std::string, Regex, CharacterTest> what_;
};

// All matches in order. An empty match right after the previous match is skipped.
class MatchIterator {
 public:
  MatchIterator(const Pattern& pattern, std::string_view subject);
  MatchIterator(const MatchIterator&) = delete;
  MatchIterator& operator=(const MatchIterator&) = delete;
  std::optional<Span> next();

 private:
  const Pattern& pattern_;
  std::optional<std::string> older_;  // what a regular expression sees instead of newer characters
  std::string_view subject_;
  std::size_t from_ = 0;
  std::optional<std::size_t> last_end_;
};

enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };
SplitBehavior split_behavior_from_name(const std::string& name, const std::string& where);

using PartSink = std::function<void(std::string_view part)>;

// Cuts `text` and calls `sink` with every part that is not empty. With `invert`, the text between
// matches counts as match.
void split_by(const Pattern& pattern, SplitBehavior behavior, bool invert, std::string_view text,
              const PartSink& sink);

std::string replace_all(const Pattern& pattern, std::string_view text, std::string_view content);

// Error where a tokenizer's steps make much more of a text than any real one does: a file may have steps that
// would fill the memory.
void check_growth(std::size_t size, std::size_t original);

}  // namespace lrqat::text
