#include "lrqat/train/toml.h"

#include <toml++/toml.h>

#include <algorithm>
#include <cstdio>
#include <set>

#include "lrqat/base/error.h"
#include "lrqat/base/user_text.h"

namespace lrqat::train {
namespace {

constexpr std::string_view kSpace = " \t\r";
constexpr std::string_view kKey = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

// The key in front of "=". Refuses what is no `key = value`.
std::string key_of(std::string_view line) {
  if (line.front() == '[')
    throw UsageError("tables are not used in recipes: keys stand alone, as steps = 100");
  const std::size_t size = std::min(line.find_first_not_of(kKey), line.size());
  if (size == 0) throw UsageError("expected a key made of letters, digits, - and _");
  const std::size_t next = line.find_first_not_of(kSpace, size);
  if (next == std::string_view::npos || line[next] != '=') throw UsageError("expected key = value");
  return std::string(line.substr(0, size));
}

// toml++ follows nested tables until the stack is full, so it gets no line with one. For the same reason no
// line with strings of several lines, in which quotation marks do not tell what lies inside a string.
void refuse_tables(std::string_view line) {
  char inside = 0;  // the quotation mark that the string around began with
  for (std::size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (inside != 0) {
      if (c == inside) inside = 0;
      if (c == '\\' && inside == '"') ++i;
    } else if (c == '"' || c == '\'') {
      if (line.substr(i, 3) == std::string(3, c))
        throw UsageError("strings stand between single quotation marks");
      inside = c;
    } else if (c == '#') {
      return;
    } else if (c == '{') {
      throw UsageError("tables are not used in recipes");
    }
  }
}

// toml++ takes UTF-8 alone, but the name of a file may be any bytes. So every byte b beyond ASCII goes in as
// a character of its own, U+F0000 + b, and comes out as the byte. Columns then count bytes.
std::string characters_of(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x80) {
      out.push_back(c);
    } else {
      out += {'\xF3', '\xB0', static_cast<char>(0x80 | byte >> 6), static_cast<char>(0x80 | (byte & 0x3F))};
    }
  }
  return out;
}

std::string bytes_of(std::string_view characters) {
  std::string out;
  while (!characters.empty()) {
    const bool is_byte = characters.size() >= 4 && characters.starts_with("\xF3\xB0") &&
                         (characters[2] == '\x82' || characters[2] == '\x83');
    out.push_back(is_byte ? static_cast<char>(characters[2] << 6 | (characters[3] & 0x3F))
                          : characters.front());
    characters.remove_prefix(is_byte ? 4 : 1);
  }
  return out;
}

void add_value(TomlEntry& entry, std::string_view line, const toml::node& node) {
  const std::size_t begin = node.source().begin.column, end = node.source().end.column;  // from 1
  const std::string_view written = line.substr(begin - 1, end - begin);
  if (const auto* text = node.as_string()) {
    entry.is_text = true;
    entry.values.push_back(bytes_of(text->get()));
  } else if (node.is_number() || node.is_boolean()) {
    // As it is written: what numbers may look like is base/numbers.h's to say, as for flags.
    entry.values.emplace_back(written);
  } else {
    throw UsageError(concat("value ", quote(written), " is neither a number nor true or false nor a string"));
  }
}

TomlEntry parse_line(std::string_view line) {
  TomlEntry entry;
  const std::string key = key_of(line);
  entry.key = key;
  std::replace(entry.key.begin(), entry.key.end(), '_', '-');
  refuse_tables(line);
  // A seed may need all 64 bits, which TOML's whole numbers have no room for.
  const std::size_t begin = line.find_first_not_of(kSpace, line.find('=') + 1);
  const std::string_view written = line.substr(std::min(begin, line.size()));
  if (!written.empty() && written.find_first_not_of("0123456789") == std::string_view::npos) {
    entry.values.emplace_back(written);
    return entry;
  }
  try {
    const toml::table table = toml::parse(characters_of(line));
    const toml::node& value = *table.get(key);
    entry.is_list = value.is_array();
    if (!entry.is_list) {
      add_value(entry, line, value);
    } else {
      for (const toml::node& element : *value.as_array()) add_value(entry, line, element);
    }
  } catch (const toml::parse_error& error) {
    throw UsageError(concat(quote(entry.key),
                            " is not set in one line of TOML, as steps = 100 or method = \"lsq\": ",
                            bytes_of(error.description())));
  }
  return entry;
}

// What add_value takes without quotation marks.
bool is_bare(const std::string& value) {
  return value == "true" || value == "false" ||
         (!value.empty() && value.find_first_not_of("+-.e0123456789") == std::string::npos);
}

std::string print_value(const std::string& value, bool is_text) {
  if (!is_text && is_bare(value)) return value;
  std::string out = "\"";
  for (const char c : value) {
    if (c == '"' || c == '\\') out.push_back('\\');
    if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%04X", static_cast<unsigned>(c));
      out += escape;
    } else {
      out.push_back(c);
    }
  }
  return out + "\"";
}

}  // namespace

std::vector<TomlEntry> parse_toml(std::string_view text, const std::string& where) {
  std::vector<TomlEntry> entries;
  std::set<std::string> seen;
  for (std::int64_t number = 1; !text.empty(); ++number) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    line.remove_prefix(std::min(line.find_first_not_of(kSpace), line.size()));
    line = line.substr(0, line.find_last_not_of(kSpace) + 1);
    if (line.empty() || line.front() == '#') continue;
    try {
      entries.push_back(parse_line(line));
    } catch (const UsageError& error) {
      throw UsageError(concat(where, ":", number, ": ", error.what()));
    }
    entries.back().line = number;
    if (!seen.insert(entries.back().key).second) {
      throw UsageError(concat(where, ":", number, ": ", quote(entries.back().key), " stands here twice"));
    }
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
