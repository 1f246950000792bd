// Where a model's chat templates lie, and which one of several is taken: as transformers does it.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "lrqat/base/json.h"

namespace lrqat::chat {

struct TemplateSource {
  std::string text;
  std::string where;  // the file, for errors
};

// By name. The one for everything is "default"; others are "tool_use", "rag" …
using TemplateSources = std::map<std::string, TemplateSource>;

// Of a model's folder: chat_template.jinja and additional_chat_templates/NAME.jinja; where there are none,
// chat_template of tokenizer_config.json; where that has none, chat_template.json. Error where a file is no
// JSON or a template is no text. Empty: the model has none.
TemplateSources read_template_sources(const std::filesystem::path& folder);

// Of the value that tokenizer_config.json or chat_template.json has: a text, or a list of {"name",
// "template"}, or an object of texts. Null: none.
TemplateSources template_sources(const Json& value, const std::string& where);

// The name that a key of a GGUF file gives a template: "default" for tokenizer.chat_template, NAME for
// tokenizer.chat_template.NAME; nullopt: another key.
std::optional<std::string> template_name_of_gguf_key(std::string_view key);

// "tool_use" where there are tools and such a template, else "default". Error where there is neither, with
// the names that there are.
const TemplateSource& choose_template(const TemplateSources& sources, bool has_tools);

}  // namespace lrqat::chat
