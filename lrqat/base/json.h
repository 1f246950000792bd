// JSON: nlohmann's values, a parser of our own (bounded, with messages for users, and lenient where Python
// is), and the few checked reads that give our error messages.
#pragma once

#include <cmath>
#include <concepts>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "lrqat/base/error.h"

namespace lrqat {

using Json = nlohmann::json;                 // objects sort their keys
using OrderedJson = nlohmann::ordered_json;  // objects keep the order of the text

struct JsonRules {
  int deepest = 256;  // lists and objects inside each other
  // Gets a key that stands in its object already, and how deep that lies; empty: the last one wins.
  std::function<void(const std::string& key, int depth)> repeated_key;
};

// Parses `text`; `where` (a path) names it in the error. What Python's json reads is read too: NaN, Infinity
// and -Infinity are floats, a lone surrogate ("\ud83d") becomes its three bytes. Both are refused where
// json_get meets them, not before: most stand in fields that nobody uses.
Json parse_json(std::string_view text, const std::string& where, const JsonRules& rules = {});
// The same where the order of keys matters: a chat template prints tools as they were written.
OrderedJson parse_ordered_json(std::string_view text, const std::string& where, const JsonRules& rules = {});
Json read_json_file(const std::filesystem::path& path);
std::optional<Json> try_parse_json(std::string_view text);  // nothing: it is not valid

// The JSON text of a value. Unlike dump() it takes lone surrogates (as U+FFFD).
std::string json_text(const Json& value, int indent = -1);
// Its beginning, for messages.
std::string json_excerpt(const Json& value, std::size_t longest = 80);

// Error where the value, or a member of the list that it is, is a string with a lone surrogate or a number
// that is not finite. `what` names the value.
void check_json_value(const Json& value, const std::string& what, const std::string& where);

namespace detail {

// The number as T where it is a whole one of T's range.
template <typename T>
std::optional<T> whole_number(const Json& value) {
  if (value.is_number_unsigned()) {
    const auto number = value.get<std::uint64_t>();
    return std::in_range<T>(number) ? std::optional<T>(static_cast<T>(number)) : std::nullopt;
  }
  if (value.is_number_integer()) {
    const auto number = value.get<std::int64_t>();
    return std::in_range<T>(number) ? std::optional<T>(static_cast<T>(number)) : std::nullopt;
  }
  if (!value.is_number_float()) return std::nullopt;
  const auto number = value.get<double>();
  if (number != std::trunc(number) || std::fabs(number) > 0x1p53) return std::nullopt;
  const auto wide = static_cast<std::int64_t>(number);
  return std::in_range<T>(wide) ? std::optional<T>(static_cast<T>(wide)) : std::nullopt;
}

}  // namespace detail

// object[key] as T; Error with `where` when it is missing, of another type, or not in T's range.
template <typename T>
T json_get(const Json& object, const std::string& key, const std::string& where) {
  const auto it = object.find(key);
  if (it == object.end()) fail(where, ": key \"", key, "\" is missing");
  if constexpr (!std::same_as<T, Json>) check_json_value(*it, "key \"" + key + "\"", where);
  if constexpr (std::integral<T> && !std::same_as<T, bool>) {
    if (const auto number = detail::whole_number<T>(*it)) return *number;
  } else {
    try {
      return it->template get<T>();
    } catch (const nlohmann::json::exception&) {  // said below, as for numbers
    }
  }
  fail(where, ": key \"", key, "\" has an unexpected value ", json_excerpt(*it));
}

// The same with a default for a missing or null key.
template <typename T>
T json_get_or(const Json& object, const std::string& key, T fallback, const std::string& where) {
  const auto it = object.find(key);
  if (it == object.end() || it->is_null()) return fallback;
  return json_get<T>(object, key, where);
}

}  // namespace lrqat
