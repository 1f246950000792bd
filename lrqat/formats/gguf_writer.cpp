#include <algorithm>
#include <bit>
#include <cstring>

#include "lrqat/formats/dtype.h"
#include "lrqat/formats/gguf.h"
#include "lrqat/formats/messages.h"

namespace lrqat::formats {
namespace {

constexpr std::uint32_t kVersion = 3;
constexpr std::size_t kMaxDimensions = 4;
constexpr std::size_t kMaxName = 63;  // GGML_MAX_NAME with its closing zero

// The header as bytes; it is small next to the data.
class Buffer {
 public:
  template <typename T>
  void put(const T& value) {
    if constexpr (std::is_same_v<T, std::string>) {
      put<std::uint64_t>(value.size());
      bytes_ += value;
    } else if constexpr (std::is_same_v<T, bool>) {
      bytes_ += static_cast<char>(value);
    } else {
      static_assert(std::is_arithmetic_v<T>);
      bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
    }
  }

  void put_array(const GgufArray& array) {
    put(static_cast<std::uint32_t>(array.index()));
    std::visit(
        [&](const auto& values) {
          if constexpr (!std::is_same_v<std::decay_t<decltype(values)>, std::monostate>) {
            put<std::uint64_t>(values.size());
            for (const typename std::decay_t<decltype(values)>::value_type& value : values) put(value);
          }
        },
        array);
  }

  void put_value(const GgufValue& value) {
    put(static_cast<std::uint32_t>(value.index()));
    std::visit(
        [&](const auto& stored) {
          if constexpr (std::is_same_v<std::decay_t<decltype(stored)>, GgufArray>) {
            put_array(stored);
          } else {
            put(stored);
          }
        },
        value);
  }

  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

std::uint64_t align_up(std::uint64_t offset, std::uint64_t alignment) {
  return (offset + alignment - 1) / alignment * alignment;
}

}  // namespace

GgufWriter::GgufWriter(const std::filesystem::path& path, std::uint64_t alignment)
    : path_(path), alignment_(alignment), file_(path) {
  LRQAT_CHECK(std::has_single_bit(alignment) && alignment >= 8 && alignment <= (1U << 16), "alignment ",
              alignment);
  if (alignment != 32) set("general.alignment", static_cast<std::uint32_t>(alignment));
}

void GgufWriter::set(const std::string& key, GgufValue value) {
  LRQAT_CHECK(!header_written_, "metadata after the data began: ", key);
  const auto* array = std::get_if<GgufArray>(&value);
  LRQAT_CHECK(array == nullptr || array->index() != kGgufArray, "array of nothing: ", key);
  for (const auto& [name, unused] : metadata_) {
    if (name == key) fail(path_.string(), ": GGUF key ", quoted_name(key), " is set twice");
  }
  metadata_.emplace_back(key, std::move(value));
}

void GgufWriter::declare(const std::string& name, GgmlType type, std::vector<std::int64_t> shape) {
  LRQAT_CHECK(!header_written_, "tensor declared after the data began: ", name);
  const GgmlTypeInfo& info = ggml_type_info(type);
  const auto elements = shape_product(shape);
  LRQAT_CHECK(!shape.empty() && shape.size() <= kMaxDimensions && elements && *elements > 0, "tensor ", name,
              " has shape ", shape_to_string(shape));
  if (name.size() > kMaxName) {
    fail(path_.string(), ": tensor name ", quoted_name(name), " has ", name.size(),
         " bytes, GGUF readers allow ", kMaxName);
  }
  if (shape.back() % info.block_elements != 0) {
    fail(path_.string(), ": tensor ", quoted_name(name), " has rows of ", shape.back(), " elements, ",
         info.name, " needs a multiple of ", info.block_elements, ": choose another type for it");
  }
  const bool twice = std::any_of(tensors_.begin(), tensors_.end(),
                                 [&](const Declared& tensor) { return tensor.name == name; });
  if (twice) fail(path_.string(), ": tensor ", quoted_name(name), " is declared twice");
  const std::uint64_t offset =
      tensors_.empty() ? 0 : align_up(tensors_.back().offset + tensors_.back().bytes, alignment_);
  tensors_.push_back({name, type, std::move(shape), ggml_row_bytes(type, *elements), offset});
}

void GgufWriter::write_header() {
  Buffer header;
  for (const char c : {'G', 'G', 'U', 'F'}) header.put(c);
  header.put(kVersion);
  header.put<std::uint64_t>(tensors_.size());
  header.put<std::uint64_t>(metadata_.size());
  for (const auto& [key, value] : metadata_) {
    header.put(key);
    header.put_value(value);
  }
  for (const Declared& tensor : tensors_) {
    header.put(tensor.name);
    header.put(static_cast<std::uint32_t>(tensor.shape.size()));
    for (auto size = tensor.shape.rbegin(); size != tensor.shape.rend(); ++size) header.put(*size);
    header.put(static_cast<std::uint32_t>(tensor.type));
    header.put(tensor.offset);
  }
  file_.write(header.bytes());
  data_start_ = align_up(file_.offset(), alignment_);
  file_.pad_to(data_start_);
  header_written_ = true;
}

void GgufWriter::write(std::string_view name, std::span<const std::byte> data) {
  if (!header_written_) write_header();
  if (data.empty()) return;
  LRQAT_CHECK(current_ < tensors_.size(), "write of ", name, " after the last tensor was complete");
  const Declared& tensor = tensors_[current_];
  LRQAT_CHECK(tensor.name == name, "expected data of ", tensor.name, ", got ", name);
  LRQAT_CHECK(data.size() <= tensor.bytes - written_, name, " gets more bytes than declared");
  if (written_ == 0) file_.pad_to(data_start_ + tensor.offset);
  file_.write(data);
  written_ += data.size();
  if (written_ == tensor.bytes) {
    ++current_;
    written_ = 0;
  }
}

void GgufWriter::finish(const std::function<void(const std::filesystem::path&)>& verify) {
  if (!header_written_) write_header();
  LRQAT_CHECK(current_ == tensors_.size(), "finish before ", tensors_[current_].name, " was complete");
  file_.pad_to(align_up(file_.offset(), alignment_));  // readers expect the last tensor padded as well
  file_.commit(verify);
}

}  // namespace lrqat::formats
