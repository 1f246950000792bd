// The front matter of a model card: the YAML between two lines "---" at the start of README.md. Only what
// Hugging Face's cards have at the top level: keys with a word or a list of words.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace lrqat::model {

using ModelCard = std::map<std::string, std::vector<std::string>>;

ModelCard read_model_card(const std::filesystem::path& folder);  // empty where there is none

}  // namespace lrqat::model
