// Regular expressions: PCRE2 in UTF mode with Unicode properties and just-in-time compilation. Patterns of
// tokenizer.json are Oniguruma's; oniguruma.h translates them.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace lrqat::text {

struct Span {
  std::size_t begin;
  std::size_t end;
};

// Immutable; find() may be called from several threads.
class Regex {
 public:
  // `pattern` in PCRE2's syntax; ^ and $ match at line ends. `where` names it in error messages.
  Regex(const std::string& pattern, std::string where);

  // First match that begins at `from` or later. `subject` must be valid UTF-8. Error when PCRE2 gives up (its
  // match limit on a pathological pattern): text is never dropped silently.
  std::optional<Span> find(std::string_view subject, std::size_t from) const;

 private:
  std::shared_ptr<const void> code_;  // pcre2_code
  std::string where_;
};

}  // namespace lrqat::text
