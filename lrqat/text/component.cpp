#include "lrqat/text/component.h"

#include <algorithm>

#include "lrqat/base/user_text.h"
#include "lrqat/text/unicode.h"

namespace lrqat::text {
namespace {

std::string join(std::span<const std::string_view> names) {
  std::string out;
  for (const std::string_view name : names) out.append(out.empty() ? "" : ", ").append(name);
  return out.empty() ? "none" : out;
}

}  // namespace

void check_options(const Json& json, std::span<const std::string_view> known, const std::string& where) {
  for (const auto& [key, value] : json.items()) {
    if (key == "type" || std::find(known.begin(), known.end(), key) != known.end()) continue;
    fail(where, ": option ", quote(key), " is not known; known: ", join(known));
  }
}

void fail_unknown_type(const std::string& type, const std::vector<std::string_view>& known,
                       const std::string& where) {
  fail(where, ": type \"", type, "\" is not supported; supported: ", join(known));
}

std::string single_character(const std::string& text, const std::string& option, const std::string& where) {
  if (text.empty() || utf8_length(text[0]) != text.size()) {
    fail(where, ": ", option, " is ", quote(text), ", expected one character");
  }
  return text;
}

std::string component_type(const Json& json, const std::string& where) {
  if (!json.is_object()) fail(where, ": found ", json_excerpt(json), ", expected an object with a \"type\"");
  return json_get<std::string>(json, "type", where);
}

}  // namespace lrqat::text
