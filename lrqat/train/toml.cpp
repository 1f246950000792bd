#include "lrqat/train/toml.h"

#include <cctype>
#include <charconv>
#include <cstdio>
#include <set>

#include "lrqat/base/error.h"
#include "lrqat/base/user_text.h"

namespace lrqat::train {
namespace {

class LineParser {
 public:
  LineParser(std::string_view line, std::string where) : rest_(line), where_(std::move(where)) {}

  // False for a line without an entry.
  bool parse(TomlEntry& entry) {
    skip_space();
    if (at_end()) return false;
    if (rest_.front() == '[') fail_here("tables are not used in recipes: keys stand alone, as steps = 100");
    entry.key = key();
    skip_space();
    if (!take('=')) fail_here("expected key = value");
    skip_space();
    entry.is_list = take('[');
    if (entry.is_list) {
      list(entry);
    } else {
      entry.values.push_back(value(entry));
    }
    skip_space();
    if (!at_end()) fail_here(concat("unexpected ", quote(rest_), " after the value"));
    return true;
  }

 private:
  [[noreturn]] void fail_here(const std::string& what) const { throw UsageError(concat(where_, ": ", what)); }
  bool at_end() const { return rest_.empty() || rest_.front() == '#'; }
  void skip_space() {
    while (!rest_.empty() && (rest_.front() == ' ' || rest_.front() == '\t' || rest_.front() == '\r'))
      rest_.remove_prefix(1);
  }
  bool take(char c) {
    if (rest_.empty() || rest_.front() != c) return false;
    rest_.remove_prefix(1);
    return true;
  }

  std::string key() {
    std::size_t size = 0;
    while (size < rest_.size() && (std::isalnum(static_cast<unsigned char>(rest_[size])) != 0 ||
                                   rest_[size] == '-' || rest_[size] == '_'))
      ++size;
    if (size == 0) fail_here("expected a key made of letters, digits, - and _");
    std::string out(rest_.substr(0, size));
    rest_.remove_prefix(size);
    for (char& c : out) c = c == '_' ? '-' : c;
    return out;
  }

  void list(TomlEntry& entry) {
    skip_space();
    while (!take(']')) {
      if (at_end()) fail_here("a list must end with ] on the same line");
      entry.values.push_back(value(entry));
      skip_space();
      if (!take(',') && (rest_.empty() || rest_.front() != ']')) fail_here("expected , or ] in the list");
      skip_space();
    }
  }

  std::string value(TomlEntry& entry) {
    if (take('"')) return entry.is_text = true, double_quoted();
    if (take('\'')) {
      const std::size_t end = rest_.find('\'');
      if (end == std::string_view::npos) fail_here("a string has no closing '");
      std::string out(rest_.substr(0, end));
      rest_.remove_prefix(end + 1);
      return entry.is_text = true, out;
    }
    return bare();
  }

  std::string double_quoted() {
    std::string out;
    while (!rest_.empty()) {
      const char c = rest_.front();
      rest_.remove_prefix(1);
      if (c == '"') return out;
      if (c != '\\') {
        out.push_back(c);
        continue;
      }
      if (rest_.empty()) break;
      const char escaped = rest_.front();
      rest_.remove_prefix(1);
      if (escaped == 'n')
        out.push_back('\n');
      else if (escaped == 't')
        out.push_back('\t');
      else if (escaped == 'u')
        out.push_back(control_character());
      else if (escaped == '"' || escaped == '\\')
        out.push_back(escaped);
      else
        fail_here(concat("the escape ", quote(std::string{'\\', escaped}),
                         R"( is not known: \", \\, \n, \t and \u0000 to \u007F are)"));
    }
    fail_here("a string has no closing \"");
  }

  // XXXX of \uXXXX: what is printed so are control characters; others stand in the file as they are.
  char control_character() {
    unsigned code = 0x80;
    const std::string_view digits = rest_.substr(0, 4);
    const auto [end, fault] = std::from_chars(digits.data(), digits.data() + digits.size(), code, 16);
    if (fault != std::errc{} || digits.size() != 4 || end != digits.data() + 4 || code >= 0x80) {
      fail_here("after \\u stand four digits, 0000 to 007F; write other characters as they are");
    }
    rest_.remove_prefix(4);
    return static_cast<char>(code);
  }

  // A number or a boolean, as text: what numbers may look like is base/numbers.h's to say, as for flags.
  std::string bare() {
    std::string out;
    while (!rest_.empty() && std::string_view(" \t\r,]#").find(rest_.front()) == std::string_view::npos) {
      out.push_back(rest_.front());
      rest_.remove_prefix(1);
    }
    const bool number =
        !out.empty() && std::string_view("+-.0123456789").find(out[0]) != std::string_view::npos;
    if (!number && out != "true" && out != "false") {
      fail_here(
          concat("value ", quote(out), " is neither a number nor true or false; strings stand in \"…\""));
    }
    return out;
  }

  std::string_view rest_;
  std::string where_;
};

std::string control_escape(char c) {
  char text[8];
  std::snprintf(text, sizeof text, "\\u%04X", static_cast<unsigned>(c));
  return text;
}

// What bare() reads back.
bool is_bare(const std::string& value) {
  return value == "true" || value == "false" ||
         (!value.empty() && std::string_view("+-.0123456789").find(value[0]) != std::string_view::npos);
}

std::string print_value(const std::string& value, bool is_text) {
  if (!is_text && is_bare(value)) return value;
  std::string out = "\"";
  for (const char c : value) {
    if (c == '"' || c == '\\') out.push_back('\\');
    if (c == '\n')
      out += "\\n";
    else if (c == '\t')
      out += "\\t";
    else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F)
      out += control_escape(c);
    else
      out.push_back(c);
  }
  return out + "\"";
}

}  // namespace

std::vector<TomlEntry> parse_toml(std::string_view text, const std::string& where) {
  std::vector<TomlEntry> entries;
  std::set<std::string> seen;
  for (std::int64_t line = 1; !text.empty(); ++line) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string here = concat(where, ":", line);
    TomlEntry entry;
    if (LineParser(text.substr(0, end), here).parse(entry)) {
      entry.line = line;
      if (!seen.insert(entry.key).second)
        throw UsageError(concat(here, ": ", quote(entry.key), " stands here twice"));
      entries.push_back(std::move(entry));
    }
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return entries;
}

std::string print_toml(const TomlEntry& entry) {
  std::string out = entry.key + " = " + (entry.is_list ? "[" : "");
  for (std::size_t i = 0; i < entry.values.size(); ++i) {
    out += (i == 0 ? "" : ", ") + print_value(entry.values[i], entry.is_text);
  }
  return out + (entry.is_list ? "]" : "");
}

}  // namespace lrqat::train
