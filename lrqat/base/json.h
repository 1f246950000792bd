// JSON: nlohmann's library and the few checked reads that give our error messages.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "lrqat/base/error.h"

namespace lrqat {

using Json = nlohmann::json;

// Parses `text`; `where` (a path) names it in the error.
Json parse_json(std::string_view text, const std::string& where);
Json read_json_file(const std::filesystem::path& path);

// object[key] as T; Error with `where` when it is missing or of another type.
template <typename T>
T json_get(const Json& object, const std::string& key, const std::string& where) {
  const auto it = object.find(key);
  if (it == object.end()) fail(where, ": key \"", key, "\" is missing");
  try {
    return it->get<T>();
  } catch (const nlohmann::json::exception&) {
    fail(where, ": key \"", key, "\" has an unexpected value ", it->dump().substr(0, 80));
  }
}

// The same with a default for a missing or null key.
template <typename T>
T json_get_or(const Json& object, const std::string& key, T fallback, const std::string& where) {
  const auto it = object.find(key);
  if (it == object.end() || it->is_null()) return fallback;
  return json_get<T>(object, key, where);
}

}  // namespace lrqat
