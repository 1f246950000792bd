// One GGUF file as it lies on disk: a whole model, or a part of a split one.
#pragma once

#include "lrqat/formats/gguf.h"

namespace lrqat::formats {

struct GgufPart {
  std::shared_ptr<MappedFile> file;
  std::uint32_t version = 0;
  std::uint64_t alignment = 32;
  std::vector<std::pair<std::string, GgufValue>> metadata;
  std::vector<GgufTensor> tensors;

  const GgufValue* find_value(std::string_view key) const;
};

// Maps and validates everything but the data itself.
GgufPart read_gguf_part(const std::filesystem::path& path);

// All parts of the model that `path` is a part of, in order; one where it is not split. Error naming the
// first part that is missing or belongs to another split.
std::vector<GgufPart> read_gguf_parts(const std::filesystem::path& path);

// The first part's path where the name is NAME-0000i-of-0000n.gguf, else the path itself.
std::filesystem::path first_gguf_part(const std::filesystem::path& path);

}  // namespace lrqat::formats
