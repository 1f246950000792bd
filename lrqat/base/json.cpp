#include "lrqat/base/json.h"

#include <algorithm>
#include <cmath>
#include <new>

#include "lrqat/base/file.h"
#include "lrqat/base/json_parser.h"

namespace lrqat {
namespace {

constexpr std::size_t kMostBytes = std::size_t{1} << 30;

// A surrogate that is no half of a pair, as parse_json keeps it: U+D800 to U+DFFF in three bytes, which is no
// UTF-8.
std::size_t find_lone_surrogate(const std::string& text) {
  for (std::size_t at = text.find('\xed'); at != std::string::npos; at = text.find('\xed', at + 1)) {
    if (at + 1 < text.size() && static_cast<unsigned char>(text[at + 1]) >= 0xa0) return at;
  }
  return std::string::npos;
}

void check_scalar(const Json& value, const std::string& what, const std::string& where) {
  if (const auto* text = value.get_ptr<const std::string*>()) {
    const std::size_t at = find_lone_surrogate(*text);
    if (at == std::string::npos) return;
    constexpr const char* kDigits = "0123456789abcdef";
    const unsigned code = 0xd000U | (static_cast<unsigned char>((*text)[at + 1]) & 0x3fU) << 6 |
                          (static_cast<unsigned char>((*text)[at + 2]) & 0x3fU);
    std::string escape = "\\u";
    for (const int shift : {12, 8, 4, 0}) escape += kDigits[code >> shift & 15U];
    fail(where, ": ", what, " has the lone surrogate ", escape,
         ", half of a character: no text holds it; write the character whole or leave it out");
  }
  if (value.is_number_float() && !std::isfinite(value.get<double>())) {
    const auto number = value.get<double>();
    fail(where, ": ", what, " is ",
         std::isnan(number) ? "NaN"
         : number > 0       ? "Infinity"
                            : "-Infinity",
         ", expected a finite number");
  }
}

template <typename J>
J parse(std::string_view text, const std::string& where, const JsonRules& rules) {
  if (text.size() > kMostBytes) {
    fail(where, ": JSON of ", text.size(), " bytes, expected at most ", kMostBytes);
  }
  try {
    return JsonParser<J>(text, where, rules).parse();
  } catch (const std::bad_alloc&) {
    fail(where, ": JSON of ", text.size(), " bytes does not fit in memory");
  }
}

}  // namespace

Json parse_json(std::string_view text, const std::string& where, const JsonRules& rules) {
  return parse<Json>(text, where, rules);
}

OrderedJson parse_ordered_json(std::string_view text, const std::string& where, const JsonRules& rules) {
  return parse<OrderedJson>(text, where, rules);
}

Json read_json_file(const std::filesystem::path& path) {
  const MappedFile file(path);  // so that one that is too large is refused before it is in memory
  const auto bytes = file.bytes();
  return parse_json({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path.string());
}

std::optional<Json> try_parse_json(std::string_view text) {
  try {
    return parse_json(text, "");
  } catch (const Error&) {
    return std::nullopt;
  }
}

std::string json_text(const Json& value, int indent) {
  return value.dump(indent, ' ', false, Json::error_handler_t::replace);
}

std::string json_excerpt(const Json& value, std::size_t longest) {
  std::string text = json_text(value);
  if (text.size() <= longest) return text;
  while (longest > 0 && (static_cast<unsigned char>(text[longest]) & 0xc0U) == 0x80U) --longest;
  text.resize(longest);
  return text + "…";
}

void check_json_value(const Json& value, const std::string& what, const std::string& where) {
  if (!value.is_array()) return check_scalar(value, what, where);
  for (const Json& member : value) check_scalar(member, what, where);
}

}  // namespace lrqat
