#include "lrqat/text/oniguruma.h"

#include <algorithm>
#include <cctype>
#include <vector>

#include "lrqat/base/error.h"
#include "lrqat/base/user_text.h"

namespace lrqat::text {
namespace {

// Where the two syntaxes give an escape different meanings, PCRE2's words for Oniguruma's. Written so that
// they work inside and outside of [...].
struct Escape {
  char letter;
  const char* outside;
  const char* inside;  // nullptr: refused there
};
// Outside of [...] Oniguruma counts the other numbers below U+0100 (²³¹¼½¾) as well.
#define LRQAT_WORD_INSIDE R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc})"
#define LRQAT_WORD LRQAT_WORD_INSIDE R"(\x{B2}\x{B3}\x{B9}\x{BC}-\x{BE})"
constexpr Escape kEscapes[] = {
    {'s', R"(\p{White_Space})", R"(\p{White_Space})"},  // PCRE2's \s adds U+180E
    {'S', R"(\P{White_Space})", R"(\P{White_Space})"},
    {'d', R"(\p{Nd})", R"(\p{Nd})"},
    {'D', R"(\P{Nd})", R"(\P{Nd})"},
    {'w', "[" LRQAT_WORD "]", LRQAT_WORD_INSIDE},  // PCRE2's \w lacks marks
    {'W', "[^" LRQAT_WORD "]", nullptr},
    {'b', "(?:(?<=[" LRQAT_WORD "])(?![" LRQAT_WORD "])|(?<![" LRQAT_WORD "])(?=[" LRQAT_WORD "]))",
     R"(\x08)"},
    {'B', "(?:(?<=[" LRQAT_WORD "])(?=[" LRQAT_WORD "])|(?<![" LRQAT_WORD "])(?![" LRQAT_WORD "]))", nullptr},
    {'A', R"(\A)", nullptr},
    {'z', R"(\z)", nullptr},
    {'Z', R"(\Z)", nullptr},
    {'n', R"(\n)", R"(\n)"},
    {'r', R"(\r)", R"(\r)"},
    {'t', R"(\t)", R"(\t)"},
    {'f', R"(\f)", R"(\f)"},
    {'a', R"(\x07)", R"(\x07)"},
    {'e', R"(\x1B)", R"(\x1B)"},
    {'v', R"(\x0B)", R"(\x0B)"},  // PCRE2's \v is a class
};
#undef LRQAT_WORD
#undef LRQAT_WORD_INSIDE

// \p{…} names that mean the same in both; any other name is taken for a script. Alphabetic and Lowercase are
// not among them: between Unicode 14 and 16 older characters changed.
constexpr std::string_view kProperties[] = {
    "any", "l",  "lu", "ll", "lt", "lm",          "lo",        "m",           "mn",   "mc", "me",
    "n",   "nd", "nl", "no", "p",  "pc",          "pd",        "ps",          "pe",   "pi", "pf",
    "po",  "s",  "sm", "sc", "sk", "so",          "z",         "zs",          "zl",   "zp", "c",
    "cc",  "cf", "cs", "co", "cn", "white_space", "uppercase", "ideographic", "emoji"};

// Pairs of letters that one character folds to (ß, ﬀ, ﬁ, ﬂ, ﬆ): under (?i) Oniguruma lets that character
// match them, PCRE2 does not.
constexpr std::string_view kFoldedPairs[] = {"ss", "ff", "fi", "fl", "st"};

class Translator {
 public:
  Translator(std::string_view pattern, const std::string& where) : in_(pattern), where_(where) {}

  std::string run() {
    while (at_ < in_.size()) step();
    return std::move(out_);
  }

 private:
  [[noreturn]] void refuse(const std::string& what) const {
    fail(where_, ": regular expression ", quote(in_), ": ", what, " at offset ", at_,
         " is not supported. Write the pattern without it.");
  }

  char peek(std::size_t ahead = 0) const { return at_ + ahead < in_.size() ? in_[at_ + ahead] : '\0'; }
  bool next_is(std::string_view text) const { return in_.substr(at_, text.size()) == text; }

  void step() {
    const char c = peek();
    if (c != '\\' && !std::isalpha(static_cast<unsigned char>(c))) previous_literal_ = '\0';
    if (c == '\\') return escape(false);
    if (c == '[') return character_class();
    if (c == '(') return open_group();
    if (c == ')') return close_group();
    if (c == '{') return interval();
    literal(c);
  }

  void literal(char c) {
    if (caseless_) check_folding(c);
    out_ += c;
    ++at_;
  }

  void check_folding(char c) {
    if (static_cast<unsigned char>(c) >= 0x80) refuse("a character outside ASCII under (?i)");
    const char lower = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    const std::string pair{previous_literal_, lower};
    if (std::find(std::begin(kFoldedPairs), std::end(kFoldedPairs), pair) != std::end(kFoldedPairs)) {
      refuse("\"" + pair + "\" under (?i)");
    }
    previous_literal_ = lower;
  }

  // at_ is on the backslash.
  void escape(bool inside) {
    previous_literal_ = '\0';
    if (at_ + 1 >= in_.size()) refuse("a backslash at the end");
    const char letter = peek(1);
    if (letter == 'p' || letter == 'P') return property();
    if (letter == 'x' || letter == 'u') return code_point();
    if (!std::isalnum(static_cast<unsigned char>(letter))) {
      out_.append({'\\', letter});
      at_ += 2;
      return;
    }
    for (const Escape& row : kEscapes) {
      const char* text = inside ? row.inside : row.outside;
      if (row.letter == letter && text != nullptr) {
        out_ += text;
        at_ += 2;
        return;
      }
    }
    refuse(std::string("the escape \\") + letter + (inside ? " inside [...]" : ""));
  }

  // \p{Name}, \P{Name}, \p{^Name}.
  void property() {
    const std::size_t close = in_.find('}', at_);
    if (peek(2) != '{' || close == std::string_view::npos) refuse("\\p without {name}");
    std::string_view name = in_.substr(at_ + 3, close - at_ - 3);
    bool negated = peek(1) == 'P';
    if (!name.empty() && name.front() == '^') {
      negated = !negated;
      name.remove_prefix(1);
    }
    std::string key;
    for (const char c : name) key += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    const bool plain =
        std::find(std::begin(kProperties), std::end(kProperties), key) != std::end(kProperties);
    if (name.empty() ||
        (!plain && key.find_first_not_of("abcdefghijklmnopqrstuvwxyz_") != std::string::npos)) {
      refuse("the property \\p{" + std::string(name) + "}");
    }
    out_ += negated ? "\\P{" : "\\p{";
    if (!plain) out_ += "sc:";  // PCRE2 would match script extensions, Oniguruma matches scripts
    out_.append(name).append("}");
    at_ = close + 1;
  }

  // \xHH (ASCII only: above it Oniguruma means a byte), \x{H…}, \uHHHH.
  void code_point() {
    const bool braces = peek(1) == 'x' && peek(2) == '{';
    const std::size_t begin = at_ + (braces ? 3 : 2);
    const std::size_t limit = braces ? in_.find('}', begin) : begin + (peek(1) == 'x' ? 2 : 4);
    if (limit == std::string_view::npos || limit > in_.size()) refuse("an unfinished character code");
    const std::string digits(in_.substr(begin, limit - begin));
    const bool hex = !digits.empty() && digits.size() <= 8 &&
                     digits.find_first_not_of("0123456789abcdefABCDEF") == std::string::npos;
    if (!hex) refuse("the character code \"" + digits + "\"");
    if (peek(1) == 'x' && !braces && std::stoul(digits, nullptr, 16) >= 0x80) refuse("a byte above \\x7F");
    out_ += "\\x{" + digits + "}";
    at_ = limit + (braces ? 1 : 0);
  }

  // [...], at_ on the bracket. Nested classes that are neither negated nor intersected are unions: the inner
  // brackets are dropped.
  void character_class() {
    out_ += '[';
    ++at_;
    if (peek() == '^') {
      out_ += '^';
      ++at_;
    }
    if (peek() == ']') refuse("an empty character class");
    int depth = 1;
    while (depth > 0) {
      if (at_ >= in_.size()) refuse("an unclosed character class");
      const char c = peek();
      if (c == '\\') {
        escape(true);
      } else if (c == '[') {
        open_nested_class();
        ++depth;
      } else if (c == ']') {
        --depth;
        ++at_;
        if (depth > 0 && peek() == '-') refuse("a range after a nested character class");
      } else {
        if (next_is("&&")) refuse("an intersection of character classes");
        if (caseless_ && static_cast<unsigned char>(c) >= 0x80)
          refuse("a character outside ASCII under (?i)");
        out_ += c;
        ++at_;
      }
    }
    out_ += ']';
  }

  void open_nested_class() {
    if (peek(1) == ':') refuse("a POSIX class [:name:]");
    if (peek(1) == '^') refuse("a negated nested character class");
    if (peek(1) == ']') refuse("an empty character class");
    if (out_.back() == '-') refuse("a range before a nested character class");
    ++at_;
    if (peek() == '-') {
      out_ += "\\-";
      ++at_;
    }
  }

  // Groups remember whether (?i) held before them. A bare (?i) is the same in both only at the very start:
  // later on it reaches differently far over alternatives.
  void open_group() {
    static constexpr std::string_view kOpeners[] = {
        "(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?i:", "(?-i:"};
    if (at_ == 0 && next_is("(?i)")) {
      caseless_ = true;
      out_ += "(?i)";
      at_ += 4;
      return;
    }
    std::string_view opener = "(";
    for (const std::string_view candidate : kOpeners) {
      if (next_is(candidate)) opener = candidate;
    }
    if (opener == "(" && (peek(1) == '?' || peek(1) == '*')) {
      refuse("the group " + std::string(in_.substr(at_, 3)));
    }
    case_stack_.push_back(caseless_);
    if (opener == "(?i:") caseless_ = true;
    if (opener == "(?-i:") caseless_ = false;
    out_ += opener;
    at_ += opener.size();
  }

  void close_group() {
    if (case_stack_.empty()) refuse("an unmatched )");
    caseless_ = case_stack_.back();
    case_stack_.pop_back();
    out_ += ')';
    ++at_;
  }

  // {n}, {n,}, {n,m}, {,m}. Anything else after { is a plain brace in both.
  void interval() {
    const std::size_t close = in_.find('}', at_);
    const std::string body(close == std::string_view::npos ? "" : in_.substr(at_ + 1, close - at_ - 1));
    const bool interval = !body.empty() && body != "," &&
                          body.find_first_not_of("0123456789,") == std::string::npos &&
                          std::count(body.begin(), body.end(), ',') <= 1;
    if (!interval) return literal('{');
    const char after = close + 1 < in_.size() ? in_[close + 1] : '\0';
    if (after == '+')
      refuse("{...}+");  // greedy repetition of the repetition in Oniguruma, possessive in PCRE2
    if (after == '?' && body.find(',') == std::string::npos) refuse("{n}?");
    out_ += body.front() == ',' ? "{0" + body + "}" : "{" + body + "}";
    at_ = close + 1;
  }

  std::string_view in_;
  const std::string& where_;
  std::size_t at_ = 0;
  std::string out_;
  bool caseless_ = false;
  std::vector<bool> case_stack_;
  char previous_literal_ = '\0';
};

}  // namespace

std::string oniguruma_to_pcre2(std::string_view pattern, const std::string& where) {
  return Translator(pattern, where).run();
}

}  // namespace lrqat::text
