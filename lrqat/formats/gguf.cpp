// A model's GGUF file, or all parts of a split one as one.
#include "lrqat/formats/gguf.h"

#include <functional>

#include "lrqat/formats/dtype.h"
#include "lrqat/formats/gguf_cursor.h"
#include "lrqat/formats/gguf_part.h"
#include "lrqat/formats/messages.h"

namespace lrqat::formats {

std::int64_t GgufTensor::elements() const { return shape_product(shape).value(); }

GgufFile::GgufFile(const std::filesystem::path& path) {
  for (GgufPart& part : read_gguf_parts(path)) take(std::move(part));
}

// The first part's metadata are the model's.
void GgufFile::take(GgufPart part) {
  const std::string where = part.file->path().string();
  if (files_.empty()) {
    version_ = part.version;
    alignment_ = part.alignment;
    metadata_ = std::move(part.metadata);
    for (const auto& [key, value] : metadata_) {
      if (!value_index_.emplace(key, value_index_.size()).second) {
        fail(where, ": GGUF key ", quoted_name(key), " stands twice, expected once", kGgufDamaged);
      }
    }
  }
  for (GgufTensor& tensor : part.tensors) {
    if (!tensor_index_.emplace(tensor.name, tensors_.size()).second) {
      fail(where, ": tensor ", quoted_name(tensor.name), " stands twice, expected once", kGgufDamaged);
    }
    tensors_.push_back(std::move(tensor));
  }
  files_.push_back(std::move(part.file));
}

void GgufFile::release(const GgufTensor& tensor) const {
  for (const auto& file : files_) {
    const std::byte *begin = file->bytes().data(), *end = begin + file->bytes().size();
    if (std::less_equal<>()(begin, tensor.data.data()) && std::less<>()(tensor.data.data(), end))
      return file->release(tensor.data);
  }
}

const GgufValue* GgufFile::find_value(std::string_view key) const {
  const auto it = value_index_.find(std::string(key));
  return it == value_index_.end() ? nullptr : &metadata_[it->second].second;
}

void GgufFile::fail_type(std::string_view key, const GgufValue& value) const {
  fail(path().string(), ": GGUF key \"", key, "\" is of type ", gguf_type_name(value),
       " or out of range, which is not what stands there in a valid model");
}

const GgufTensor* GgufFile::find(std::string_view name) const {
  const auto it = tensor_index_.find(std::string(name));
  return it == tensor_index_.end() ? nullptr : &tensors_[it->second];
}

const GgufTensor& GgufFile::at(std::string_view name) const {
  if (const GgufTensor* tensor = find(name)) return *tensor;
  std::vector<std::string> names;
  for (const GgufTensor& tensor : tensors_) names.push_back(tensor.name);
  fail(path().string(), ": no tensor ", quoted_name(name), near_names_hint(name, names));
}

}  // namespace lrqat::formats
