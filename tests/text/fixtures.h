// What the tokenizer tests share.
#pragma once

#include <cstdint>
#include <filesystem>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

#include "lrqat/formats/gguf.h"
#include "lrqat/text/gguf_vocabulary.h"

namespace lrqat::text {

using Ids = std::vector<std::int32_t>;

inline std::filesystem::path fixture(const std::string& name) {
  return std::filesystem::path(LRQAT_TEST_DATA) / "text" / name;
}

// The keys that a byte-level vocabulary has in a GGUF file.
inline GgufVocabulary read_vocabulary(const std::filesystem::path& path) {
  const formats::GgufFile file(path);
  GgufVocabulary out;
  out.model = file.get<std::string>("tokenizer.ggml.model");
  out.pre = file.get_or<std::string>("tokenizer.ggml.pre", "");
  out.tokens = file.get<std::vector<std::string>>("tokenizer.ggml.tokens");
  for (const std::int64_t type : file.get<std::vector<std::int64_t>>("tokenizer.ggml.token_type")) {
    out.token_types.push_back(static_cast<std::int32_t>(type));
  }
  out.merges = file.get<std::vector<std::string>>("tokenizer.ggml.merges");
  return out;
}

}  // namespace lrqat::text
