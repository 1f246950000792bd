// What the tests of chat templates share.
#pragma once

#include <filesystem>
#include <string>

#include "lrqat/base/file.h"
#include "lrqat/base/json.h"
#include "lrqat/chat/chat_template.h"

namespace lrqat::chat {

inline std::filesystem::path data_folder() {
  return std::filesystem::path(LRQAT_TEST_DATA) / "chat_templates";
}

inline OrderedJson ordered_file(const std::string& name) {
  const auto path = data_folder() / name;
  return parse_ordered_json(read_text_file(path), path.string());
}

inline OrderedJson json(const std::string& text) { return parse_ordered_json(text, "test"); }

inline RenderOptions with_variables(OrderedJson variables) {
  RenderOptions options;
  options.variables = std::move(variables);
  std::tm
      now{};  // Friday, 26 July 2024, 14:05: what tests/outsiders/chat_templates_test.py tells transformers
  now.tm_year = 124;
  now.tm_mon = 6;
  now.tm_mday = 26;
  now.tm_wday = 5;
  now.tm_yday = 207;
  now.tm_hour = 14;
  now.tm_min = 5;
  options.now = now;
  return options;
}

// The text of a template with these variables and no messages.
inline std::string render(const std::string& text, const std::string& variables = "{}") {
  return ChatTemplate(text, "test").render(OrderedJson::array(), with_variables(json(variables)));
}

// What the error says; empty: there is none.
template <typename Run>
std::string error_of(const Run& run) {
  try {
    run();
  } catch (const Error& error) {
    return error.what();
  }
  return {};
}

}  // namespace lrqat::chat
