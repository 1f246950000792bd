#include "lrqat/model/general_metadata.h"

#include <algorithm>
#include <array>

#include "lrqat/base/error.h"
#include "lrqat/base/json.h"
#include "lrqat/formats/safetensors.h"
#include "lrqat/model/model_card.h"
#include "lrqat/text/unicode.h"

namespace lrqat::model {
namespace {

namespace fs = std::filesystem;
using formats::GgufArray;
using formats::GgufValue;

constexpr const char* kName = "general.name";
constexpr std::array kOfOneFile = {
    "general.architecture", "general.type",      "general.alignment", "general.quantization_version",
    "general.quantized_by", "general.file_type", "general.uuid"};

std::string name_of_path(const fs::path& path) {
  std::error_code code;
  const fs::path plain = fs::weakly_canonical(path, code);
  return (fs::is_directory(plain) ? plain.filename() : plain.stem()).string();
}

GeneralMetadata of_gguf(const formats::GgufFile& file) {
  GeneralMetadata metadata;
  for (const auto& [key, value] : file.metadata()) {
    const bool of_one_file = std::find(kOfOneFile.begin(), kOfOneFile.end(), key) != kOfOneFile.end();
    if (key.starts_with("general.") && !of_one_file) metadata.emplace(key, value);
  }
  return metadata;
}

// "organization/name", as Hugging Face calls its models.
struct Repository {
  std::string organization;
  std::string name;
};

Repository repository_of(const std::string& id) {
  const std::size_t slash = id.find('/');
  if (slash == std::string::npos) return {"", id};
  return {id.substr(0, slash), id.substr(slash + 1)};
}

bool is_repository(const std::string& id) {
  return !id.empty() && id.front() != '/' && id.front() != '.' && id.find('\\') == std::string::npos &&
         std::count(id.begin(), id.end(), '/') <= 1 && id.back() != '/';
}

// What config.json was loaded from, or the folder of Hugging Face's cache: models--organization--name.
Repository repository_of_folder(const fs::path& folder) {
  constexpr std::string_view kCache = "models--";
  const Json config = read_json_file(folder / "config.json");
  const auto saved = config.find("_name_or_path");
  if (saved != config.end() && saved->is_string() && is_repository(saved->get<std::string>()) &&
      text::is_valid_utf8(saved->get<std::string>())) {
    return repository_of(saved->get<std::string>());
  }
  std::error_code code;
  for (const fs::path& part : fs::absolute(folder, code)) {
    const std::string name = part.string();
    const std::size_t dashes = name.find("--", kCache.size());
    if (!name.starts_with(kCache) || dashes == std::string::npos) continue;
    return {name.substr(kCache.size(), dashes - kCache.size()), name.substr(dashes + 2)};
  }
  return {};
}

void add_repository(const std::string& prefix, const Repository& repository, GeneralMetadata& metadata) {
  if (!repository.name.empty()) metadata[prefix + "name"] = repository.name;
  if (!repository.organization.empty()) metadata[prefix + "organization"] = repository.organization;
}

void add_base_models(const std::vector<std::string>& ids, GeneralMetadata& metadata) {
  std::uint32_t count = 0;
  for (const std::string& id : ids) {
    if (!is_repository(id)) continue;
    const std::string prefix = concat("general.base_model.", count++, ".");
    add_repository(prefix, repository_of(id), metadata);
    if (id.find('/') != std::string::npos) metadata[prefix + "repo_url"] = "https://huggingface.co/" + id;
  }
  if (count > 0) metadata["general.base_model.count"] = count;
}

GeneralMetadata of_huggingface(const fs::path& folder) {
  GeneralMetadata metadata;
  add_repository("general.", repository_of_folder(folder), metadata);
  const ModelCard card = read_model_card(folder);
  const auto words = [&](const char* key) {
    const auto found = card.find(key);
    return found == card.end() ? std::vector<std::string>() : found->second;
  };
  const auto set_word = [&](const char* key, const char* gguf) {
    if (const auto values = words(key); !values.empty()) metadata[gguf] = values.front();
  };
  const auto set_list = [&](const char* key, const char* gguf) {
    if (const auto values = words(key); !values.empty()) metadata[gguf] = GgufArray(values);
  };
  set_word("model_name", kName);
  set_word("license", "general.license");
  set_word("license_name", "general.license.name");
  set_word("license_link", "general.license.link");
  set_list("tags", "general.tags");
  set_list("language", "general.languages");
  add_base_models(words("base_model"), metadata);
  return metadata;
}

Json to_json(const GgufValue& value) {
  return std::visit(
      [](const auto& stored) -> Json {
        if constexpr (std::is_same_v<std::decay_t<decltype(stored)>, GgufArray>) {
          const auto* words = std::get_if<std::vector<std::string>>(&stored);
          return words == nullptr ? Json() : Json(*words);  // others are not among GGUF's general keys
        } else {
          return stored;
        }
      },
      value);
}

// Null where it is nothing that to_json makes.
void add_from_json(const std::string& key, const Json& json, GeneralMetadata& metadata) {
  if (json.is_string()) metadata[key] = json.get<std::string>();
  if (json.is_boolean()) metadata[key] = json.get<bool>();
  if (json.is_number_float()) metadata[key] = json.get<float>();
  if (json.is_number_unsigned()) metadata[key] = static_cast<std::uint32_t>(json.get<std::uint64_t>());
  if (!json.is_array()) return;
  std::vector<std::string> words;
  for (const Json& word : json) {
    if (word.is_string()) words.push_back(word.get<std::string>());
  }
  metadata[key] = GgufArray(std::move(words));
}

// Of a folder that lrqat wrote; empty: another one.
GeneralMetadata carried(const fs::path& folder) {
  GeneralMetadata metadata;
  const formats::ShardedSafetensors tensors(folder);
  const auto found = tensors.metadata().find(kGeneralMetadata);
  if (found == tensors.metadata().end()) return metadata;
  const Json json = parse_json(found->second, concat(folder.string(), ": ", kGeneralMetadata));
  for (const auto& [key, value] : json.items()) add_from_json(key, value, metadata);
  return metadata;
}

}  // namespace

GeneralMetadata general_metadata(const fs::path& model) {
  GeneralMetadata metadata;
  if (!fs::is_directory(model)) {
    metadata = of_gguf(formats::GgufFile(model));
  } else {
    metadata = carried(model);
    if (metadata.empty()) metadata = of_huggingface(model);
  }
  if (!metadata.contains(kName)) metadata[kName] = name_of_path(model);
  return metadata;
}

GeneralMetadata general_metadata(const OpenedModel& model) {
  return general_metadata(model.source != nullptr ? fs::path(model.source->path()) : model.path);
}

std::string to_text(const GeneralMetadata& metadata) {
  Json json = Json::object();
  for (const auto& [key, value] : metadata) {
    if (const Json one = to_json(value); !one.is_null()) json[key] = one;
  }
  return json_text(json);
}

}  // namespace lrqat::model
