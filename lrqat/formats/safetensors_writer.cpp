#include <cstring>
#include <unordered_set>

#include "lrqat/base/error.h"
#include "lrqat/base/json.h"
#include "lrqat/formats/messages.h"
#include "lrqat/formats/safetensors.h"

namespace lrqat::formats {
namespace {

using OrderedJson = nlohmann::ordered_json;  // keeps the declared order in the header

std::string header_json(const std::vector<TensorDeclaration>& tensors, const Metadata& metadata) {
  OrderedJson header = OrderedJson::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::unordered_set<std::string> seen;
  std::uint64_t offset = 0;
  for (const TensorDeclaration& tensor : tensors) {
    LRQAT_CHECK(tensor.name != "__metadata__" && seen.insert(tensor.name).second,
                "tensor name declared twice: ", tensor.name);
    const std::uint64_t end = offset + declared_bytes(tensor);
    // emplace_back instead of operator[]: the ordered object looks names up one by one
    header.get_ref<OrderedJson::object_t&>().emplace_back(
        tensor.name,
        OrderedJson{
            {"dtype", dtype_name(tensor.dtype)}, {"shape", tensor.shape}, {"data_offsets", {offset, end}}});
    offset = end;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');  // the data then begins at a multiple of 8
  return text;
}

}  // namespace

std::uint64_t declared_bytes(const TensorDeclaration& tensor) {
  const auto elements = shape_product(tensor.shape);
  LRQAT_CHECK(elements, "tensor ", tensor.name, " has shape ", shape_to_string(tensor.shape));
  return static_cast<std::uint64_t>(*elements) * dtype_size(tensor.dtype);
}

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& path,
                                     std::vector<TensorDeclaration> tensors, const Metadata& metadata)
    : path_(path), tensors_(std::move(tensors)), file_(path) {
  const std::string header = header_json(tensors_, metadata);
  if (header.size() > kMaxSafetensorsHeader) {
    fail(path.string(), ": header of ", header.size(), " bytes, safetensors allows ", kMaxSafetensorsHeader,
         ": write fewer tensors a file (smaller shards)");
  }
  const auto length = static_cast<std::uint64_t>(header.size());
  file_.write(std::as_bytes(std::span(&length, 1)));
  file_.write(header);
  skip_complete();
}

// Moves on to the first tensor that still misses bytes.
void SafetensorsWriter::skip_complete() {
  while (current_ < tensors_.size() && written_ == declared_bytes(tensors_[current_])) {
    ++current_;
    written_ = 0;
  }
}

void SafetensorsWriter::write(std::string_view name, std::span<const std::byte> data) {
  if (data.empty()) return;
  LRQAT_CHECK(current_ < tensors_.size(), "write of ", name, " after the last tensor was complete");
  const TensorDeclaration& tensor = tensors_[current_];
  LRQAT_CHECK(tensor.name == name, "expected data of ", tensor.name, ", got ", name);
  LRQAT_CHECK(data.size() <= declared_bytes(tensor) - written_, name, " gets more bytes than declared");
  file_.write(data);
  written_ += data.size();
  skip_complete();
}

void SafetensorsWriter::finish() {
  LRQAT_CHECK(current_ == tensors_.size(), "finish before ", tensors_[current_].name, " was complete");
  file_.commit();
}

}  // namespace lrqat::formats
