// Keys of config.json, where null counts as absent. Errors name the file (`where`), the key and what was
// found.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lrqat/base/json.h"

namespace lrqat::formats {

std::int64_t integer(const Json& json, const std::string& key, const std::string& where);  // must be there
std::optional<std::int64_t> optional_integer(const Json& json, const std::string& key,
                                             const std::string& where);
double number_or(const Json& json, const std::string& key, double fallback, const std::string& where);
// A number, a list of numbers, or nothing.
std::vector<std::int64_t> integer_list(const Json& json, const std::string& key, const std::string& where);
const Json* optional_object(const Json& json, const std::string& key, const std::string& where);

}  // namespace lrqat::formats
