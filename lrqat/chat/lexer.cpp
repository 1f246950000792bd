#include "lrqat/chat/lexer.h"

#include <algorithm>
#include <cctype>

#include "lrqat/base/error.h"
#include "lrqat/chat/characters.h"
#include "lrqat/chat/unescape.h"

namespace lrqat::chat {
namespace {

using Kind = Token::Kind;

// Line breaks become \n, and one at the end is dropped.
std::string normalized(std::string_view source) {
  std::string out;
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r' && i + 1 < source.size() && source[i + 1] == '\n') continue;
    out += source[i] == '\r' ? '\n' : source[i];
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

bool is_word(char c) {
  return c == '_' || std::isalnum(static_cast<unsigned char>(c)) != 0 ||
         (static_cast<unsigned char>(c) & 0x80U) != 0;
}
bool is_digit(char c) { return c >= '0' && c <= '9'; }

class Lexer {
 public:
  Lexer(std::string_view source, const std::string& where) : source_(normalized(source)), where_(where) {}

  std::vector<Token> run() {
    while (at_ < source_.size()) data();
    add(Kind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  bool starts(std::string_view text) const { return std::string_view(source_).substr(at_).starts_with(text); }
  char peek(std::size_t ahead = 0) const {
    return at_ + ahead < source_.size() ? source_[at_ + ahead] : '\0';
  }
  void add(Kind kind, std::string value) { tokens_.push_back({kind, std::move(value), line_}); }

  [[noreturn]] void fail_here(const std::string& what) const { fail(where_, ": line ", line_, ": ", what); }

  void move_to(std::size_t end) {
    line_ += static_cast<int>(std::count(source_.begin() + static_cast<std::ptrdiff_t>(at_),
                                         source_.begin() + static_cast<std::ptrdiff_t>(end), '\n'));
    at_ = end;
  }

  void skip_space() { move_to(at_ + stripped(std::string_view(source_).substr(at_), true, false).begin); }

  // Text up to the next tag, and the tag.
  void data() {
    const std::size_t begin = at_;
    std::size_t tag = begin;
    while (true) {
      tag = std::min(source_.find('{', tag), source_.size());
      if (tag >= source_.size()) break;
      const char second = tag + 1 < source_.size() ? source_[tag + 1] : '\0';
      if (second == '{' || second == '%' || second == '#') break;
      ++tag;
    }
    if (tag >= source_.size()) {
      add(Kind::kData, source_.substr(begin));
      return move_to(tag);
    }
    const char kind = source_[tag + 1];
    const char sign = tag + 2 < source_.size() ? source_[tag + 2] : '\0';
    const bool signed_tag = sign == '-' || sign == '+';
    add_data(begin, tag, signed_tag ? sign : '\0', kind == '{');
    move_to(tag);
    const std::size_t inside = tag + (signed_tag ? 3 : 2);
    if (kind == '#') return comment(inside);
    if (kind == '%' && raw(inside)) return;
    add(kind == '{' ? Kind::kVariableBegin : Kind::kBlockBegin, "");
    move_to(inside);
    tag_inside(kind == '{');
  }

  // Text before a tag: "-" takes all white space before the tag away; without a sign what stands alone before
  // a block or a comment on its line goes.
  void add_data(std::size_t begin, std::size_t end, char sign, bool variable) {
    std::string_view text = std::string_view(source_).substr(begin, end - begin);
    if (sign == '-') {
      text = text.substr(0, stripped(text, false, true).end);
    } else if (sign != '+' && !variable) {
      const std::size_t line = text.rfind('\n') + 1;  // npos + 1 = 0
      const bool at_line_begin = line > 0 || begin == 0 || source_[begin - 1] == '\n';
      if (at_line_begin && stripped(text.substr(line), true, false).begin == text.size() - line)
        text = text.substr(0, line);
    }
    if (!text.empty()) add(Kind::kData, std::string(text));
  }

  // Behind the end of a block or comment: "-" takes white space away, no sign one line break.
  void after_end(char sign) {
    if (sign == '-') {
      skip_space();
    } else if (sign == '\0' && peek() == '\n') {
      move_to(at_ + 1);
    }
  }

  void comment(std::size_t inside) {
    const std::size_t end = source_.find("#}", inside);
    if (end == std::string::npos) fail_here("Missing end of comment tag");
    const char before = end > inside ? source_[end - 1] : '\0';
    move_to(end + 2);
    after_end(before == '-' || before == '+' ? before : '\0');
  }

  // {% raw %}: text up to {% endraw %}. False where the block is another one.
  bool raw(std::size_t inside) {
    const std::size_t name = inside + stripped(std::string_view(source_).substr(inside), true, false).begin;
    if (source_.compare(name, 3, "raw") != 0) return false;
    std::size_t end = name + 3;
    end += stripped(std::string_view(source_).substr(end), true, false).begin;
    const bool minus = source_.compare(end, 3, "-%}") == 0;
    if (!minus && source_.compare(end, 2, "%}") != 0) return false;
    move_to(end + (minus ? 3 : 2));
    if (minus) skip_space();
    const std::size_t begin = at_;
    for (std::size_t tag = source_.find("{%", begin); tag != std::string::npos;
         tag = source_.find("{%", tag + 1)) {
      if (raw_end(begin, tag)) return true;
    }
    fail_here("Missing end of raw directive");
  }

  bool raw_end(std::size_t begin, std::size_t tag) {
    const char sign = tag + 2 < source_.size() ? source_[tag + 2] : '\0';
    const bool is_signed = sign == '-' || sign == '+';
    const auto skip = [&](std::size_t from) {
      return from +
             stripped(std::string_view(source_).substr(std::min(from, source_.size())), true, false).begin;
    };
    const std::size_t name = skip(tag + (is_signed ? 3 : 2));
    if (name >= source_.size() || source_.compare(name, 6, "endraw") != 0) return false;
    std::size_t end = skip(name + 6);
    if (end >= source_.size()) return false;
    const char before = source_[end] == '-' || source_[end] == '+' ? source_[end] : '\0';
    if (before != '\0') ++end;
    if (source_.compare(end, 2, "%}") != 0) return false;
    add_data(begin, tag, is_signed ? sign : '\0', false);
    move_to(end + 2);
    after_end(before);
    return true;
  }

  // Tokens up to }} or %}, which end a tag only outside of brackets.
  void tag_inside(bool variable) {
    std::string open;
    const std::string_view close = variable ? "}}" : "%}";
    while (at_ < source_.size()) {
      skip_space();
      if (open.empty() && ends_tag(close, variable)) return;
      if (at_ >= source_.size()) break;
      token(open);
    }
  }

  bool ends_tag(std::string_view close, bool variable) {
    const char sign = peek() == '-' || (peek() == '+' && !variable) ? peek() : '\0';
    if (!std::string_view(source_)
             .substr(std::min(at_ + (sign != '\0' ? 1 : 0), source_.size()))
             .starts_with(close))
      return false;
    add(variable ? Kind::kVariableEnd : Kind::kBlockEnd, "");
    move_to(at_ + close.size() + (sign != '\0' ? 1 : 0));
    if (!variable || sign == '-') after_end(sign);
    return true;
  }

  void token(std::string& open) {
    const char c = peek();
    if (c == '"' || c == '\'') return text(c);
    if (is_digit(c)) return number();
    if (is_word(c)) return name();
    operator_token(open);
  }

  void name() {
    const std::size_t begin = at_;
    std::size_t end = at_;
    for (std::size_t next = end; end < source_.size() && is_word(source_[end]); end = next) {
      if (is_space(next_character(source_, next))) break;
    }
    const std::string value = source_.substr(begin, end - begin);
    if (!is_identifier(value)) fail_here("Invalid character in identifier '" + value + "'");
    add(Kind::kName, value);
    at_ = end;
  }

  void text(char quote) {
    std::size_t end = at_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size())
      fail_here("a text that begins with " + std::string(1, quote) + " does not end");
    std::string value;
    if (const std::string problem = unescape(std::string_view(source_).substr(at_ + 1, end - at_ - 1), value);
        !problem.empty()) {
      fail_here(problem);
    }
    add(Kind::kText, std::move(value));
    move_to(end + 1);
  }

  // The digits at `at`, with underscores between them; moves behind them.
  static bool digits(std::string_view text, std::size_t& at, std::string_view set) {
    const auto is_in = [&](std::size_t i) {
      return i < text.size() &&
             set.find(static_cast<char>(std::tolower(static_cast<unsigned char>(text[i])))) !=
                 std::string_view::npos;
    };
    const std::size_t begin = at;
    while (is_in(at) || (at > begin && at < text.size() && text[at] == '_' && is_in(at + 1))) ++at;
    return at > begin;
  }

  void number() {
    const std::string_view text = source_;
    constexpr std::string_view kDecimal = "0123456789";
    std::size_t end = at_;
    bool real = false;
    digits(text, end, kDecimal);
    if (at_ == 0 || text[at_ - 1] != '.') {
      std::size_t more = end + 1;
      if (end < text.size() && text[end] == '.' && digits(text, more, kDecimal)) real = true, end = more;
      more = end + 1;
      if (end < text.size() && (text[end] == 'e' || text[end] == 'E')) {
        if (more < text.size() && (text[more] == '+' || text[more] == '-')) ++more;
        if (digits(text, more, kDecimal)) real = true, end = more;
      }
    }
    if (!real) end = integer_end();
    std::string value(text.substr(at_, end - at_));
    std::erase(value, '_');
    add(real ? Kind::kReal : Kind::kInteger, std::move(value));
    at_ = end;
  }

  std::size_t integer_end() const {
    const std::string_view text = source_;
    const char base = static_cast<char>(std::tolower(static_cast<unsigned char>(peek(1))));
    const std::string_view set = base == 'x'   ? "0123456789abcdef"
                                 : base == 'o' ? "01234567"
                                 : base == 'b' ? "01"
                                               : "";
    std::size_t end = at_ + 2;
    if (peek() == '0' && !set.empty()) {
      if (end < text.size() && text[end] == '_') ++end;
      if (digits(text, end, set)) return end;
    }
    end = at_;
    digits(text, end, peek() == '0' ? "0" : "0123456789");
    return end;
  }

  void operator_token(std::string& open) {
    for (const std::string_view two : {"**", "//", "==", "!=", ">=", "<="}) {
      if (!starts(two)) continue;
      add(Kind::kOperator, std::string(two));
      at_ += 2;
      return;
    }
    const char c = peek();
    if (std::string_view("+-/*%~[](){}><=.:|,;").find(c) == std::string_view::npos) {
      fail_here(std::string("unexpected character '") + c + "'");
    }
    if (c == '(' || c == '[' || c == '{') open += c == '(' ? ')' : c == '[' ? ']' : '}';
    if (c == ')' || c == ']' || c == '}') {
      if (open.empty()) fail_here(std::string("unexpected '") + c + "'");
      if (open.back() != c) fail_here(std::string("unexpected '") + c + "', expected '" + open.back() + "'");
      open.pop_back();
    }
    add(Kind::kOperator, std::string(1, c));
    ++at_;
  }

  const std::string source_;
  const std::string& where_;
  std::size_t at_ = 0;
  int line_ = 1;
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> tokenize(std::string_view source, const std::string& where) {
  return Lexer(source, where).run();
}

std::string described(const Token& token) {
  switch (token.kind) {
    case Kind::kData:
      return "text";
    case Kind::kVariableBegin:
      return "'{{'";
    case Kind::kVariableEnd:
      return "'}}'";
    case Kind::kBlockBegin:
      return "'{%'";
    case Kind::kBlockEnd:
      return "'%}'";
    case Kind::kText:
      return "a text";
    case Kind::kEnd:
      return "the end of the template";
    default:
      return "'" + token.value + "'";
  }
}

}  // namespace lrqat::chat
