// What says of a model what it is and whose: GGUF's general.* keys but those that describe one file. They
// come from a GGUF file, or from what a Hugging Face folder has (config.json, the front matter of README.md),
// and go along through converted and exported folders (as text in the metadata of their safetensors files).
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "lrqat/formats/gguf.h"
#include "lrqat/model/open.h"

namespace lrqat::model {

using GeneralMetadata = std::map<std::string, formats::GgufValue>;

inline constexpr const char* kGeneralMetadata = "lrqat_general";  // key in the metadata of safetensors files

// Of a GGUF file, or a folder. general.name is always there: the model's own, else the file's or folder's.
GeneralMetadata general_metadata(const std::filesystem::path& model);
GeneralMetadata general_metadata(const OpenedModel& model);  // of what it was made from

std::string to_text(const GeneralMetadata& metadata);

}  // namespace lrqat::model
