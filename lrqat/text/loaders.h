// The loaders' parts that other loaders use.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "lrqat/base/json.h"
#include "lrqat/text/pipeline.h"
#include "lrqat/text/tokenizer_config.h"

namespace lrqat::text {

// `config`: what the files beside it add.
std::shared_ptr<Pipeline> pipeline_from_json(const Json& json, const std::string& where,
                                             const TokenizerConfig& config = {});
// Mistral's tekken.json: whether it is one, and its pipeline.
bool is_tekken(const Json& json);
std::shared_ptr<Pipeline> pipeline_from_tekken(const Json& json, const std::string& where,
                                               const TokenizerConfig& config = {});
GgufVocabulary read_sentencepiece(const std::filesystem::path& path);

}  // namespace lrqat::text
