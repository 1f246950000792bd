#include "lrqat/formats/json_keys.h"

#include "lrqat/base/error.h"

namespace lrqat::formats {

std::optional<std::int64_t> optional_integer(const Json& json, const std::string& key,
                                             const std::string& where) {
  const auto it = json.find(key);
  if (it == json.end() || it->is_null()) return std::nullopt;
  const auto number = it->is_number_integer() ? detail::whole_number<std::int64_t>(*it) : std::nullopt;
  if (!number) fail(where, ": key \"", key, "\" is ", json_excerpt(*it), ", expected a whole number");
  return number;
}

std::int64_t integer(const Json& json, const std::string& key, const std::string& where) {
  const auto value = optional_integer(json, key, where);
  if (!value) fail(where, ": key \"", key, "\" is missing");
  return *value;
}

double number_or(const Json& json, const std::string& key, double fallback, const std::string& where) {
  const auto it = json.find(key);
  if (it == json.end() || it->is_null()) return fallback;
  if (!it->is_number()) fail(where, ": key \"", key, "\" is ", json_excerpt(*it), ", expected a number");
  check_json_value(*it, "key \"" + key + "\"", where);
  return it->get<double>();
}

std::vector<std::int64_t> integer_list(const Json& json, const std::string& key, const std::string& where) {
  const auto it = json.find(key);
  if (it == json.end() || it->is_null()) return {};
  if (!it->is_array()) return {integer(json, key, where)};
  std::vector<std::int64_t> values;
  for (const Json& value : *it) {
    if (!value.is_number_integer()) {
      fail(where, ": key \"", key, "\" holds ", json_excerpt(value), ", expected whole numbers");
    }
    values.push_back(value.get<std::int64_t>());
  }
  return values;
}

const Json* optional_object(const Json& json, const std::string& key, const std::string& where) {
  const auto it = json.find(key);
  if (it == json.end() || it->is_null()) return nullptr;
  if (!it->is_object()) fail(where, ": key \"", key, "\" must be an object, found ", json_excerpt(*it));
  return &*it;
}

}  // namespace lrqat::formats
