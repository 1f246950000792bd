#include "lrqat/chat/template_files.h"

#include "lrqat/base/error.h"
#include "lrqat/base/file.h"

namespace lrqat::chat {
namespace {

namespace fs = std::filesystem;

constexpr const char* kDefault = "default";

void add_json(TemplateSources& out, const Json& value, const std::string& name, const std::string& where) {
  if (value.is_null()) return;
  if (!value.is_string())
    fail(where, ": the chat template \"", name, "\" is ", json_excerpt(value), ", expected a text");
  check_json_value(value, "the chat template \"" + name + "\"", where);
  out[name] = {value.get<std::string>(), where};
}

TemplateSources of_json_file(const fs::path& path) {
  if (!fs::is_regular_file(path)) return {};
  const Json json = read_json_file(path);
  if (!json.is_object()) fail(path.string(), ": expected a JSON object, found ", json.type_name());
  return json.contains("chat_template") ? template_sources(json["chat_template"], path.string())
                                        : TemplateSources();
}

}  // namespace

TemplateSources read_template_sources(const fs::path& folder) {
  TemplateSources out;
  const auto add_file = [&](const std::string& name, const fs::path& path) {
    out[name] = {read_text_file(path), path.string()};
  };
  if (fs::is_regular_file(folder / "chat_template.jinja")) add_file(kDefault, folder / "chat_template.jinja");
  if (fs::is_directory(folder / "additional_chat_templates")) {
    for (const auto& entry : fs::directory_iterator(folder / "additional_chat_templates")) {
      if (entry.path().extension() == ".jinja") add_file(entry.path().stem().string(), entry.path());
    }
  }
  if (out.empty()) out = of_json_file(folder / "tokenizer_config.json");
  return out.empty() ? of_json_file(folder / "chat_template.json") : out;
}

TemplateSources template_sources(const Json& value, const std::string& where) {
  TemplateSources out;
  if (value.is_object()) {
    for (const auto& [name, text] : value.items()) add_json(out, text, name, where);
  } else if (value.is_array()) {
    for (const Json& entry : value) {
      if (!entry.is_object())
        fail(where, ": an entry of chat_template is ", json_excerpt(entry), ", expected an object");
      add_json(out, json_get<Json>(entry, "template", where), json_get<std::string>(entry, "name", where),
               where);
    }
  } else {
    add_json(out, value, kDefault, where);
  }
  return out;
}

std::optional<std::string> template_name_of_gguf_key(std::string_view key) {
  constexpr std::string_view kKey = "tokenizer.chat_template";
  if (key == kKey) return kDefault;
  if (!key.starts_with(kKey) || key.size() < kKey.size() + 2 || key[kKey.size()] != '.') return std::nullopt;
  return std::string(key.substr(kKey.size() + 1));
}

const TemplateSource& choose_template(const TemplateSources& sources, bool has_tools) {
  const auto tool_use = sources.find("tool_use");
  if (has_tools && tool_use != sources.end()) return tool_use->second;
  const auto usual = sources.find(kDefault);
  if (usual != sources.end()) return usual->second;
  if (sources.empty()) fail("the model has no chat template");
  std::string names;
  for (const auto& [name, source] : sources) names += (names.empty() ? "" : ", ") + name;
  fail(sources.begin()->second.where, ": no chat template is called \"default\"; there are ", names);
}

}  // namespace lrqat::chat
