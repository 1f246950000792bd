// The reader. Every count and length in the file is checked against the bytes that are left before anything
// is allocated for it.
#include "lrqat/formats/gguf.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "lrqat/formats/dtype.h"
#include "lrqat/formats/messages.h"

namespace lrqat::formats {
namespace {

constexpr std::string_view kDamaged = ": the file is damaged or cut short; fetch or export it again";
constexpr std::uint32_t kMaxDimensions = 4;         // GGML_MAX_DIMS
constexpr std::uint64_t kSmallestPair = 8 + 4 + 1;  // key length, type, one byte of value
constexpr std::uint64_t kSmallestTensor =
    8 + 4 + 8 + 4 + 8;  // name length, dimensions, one size, type, offset

static_assert(std::endian::native == std::endian::little, "GGUF files are read as they lie in memory");

// A position in the file's header.
class Cursor {
 public:
  Cursor(std::span<const std::byte> bytes, std::string where) : bytes_(bytes), where_(std::move(where)) {}

  template <typename T>
  T take(std::string_view what) {
    T value{};
    std::memcpy(&value, take_bytes(sizeof(T), what).data(), sizeof(T));
    return value;
  }

  std::string take_string(std::string_view what) {
    const auto length = take<std::uint64_t>(what);
    const auto text = take_bytes(length, what);
    return {reinterpret_cast<const char*>(text.data()), text.size()};
  }

  std::span<const std::byte> take_bytes(std::uint64_t count, std::string_view what) {
    if (count > left()) {
      fail(where_, ": file ends inside ", what, " (at byte ", offset_, ", ", count, " bytes needed, ", left(),
           " left)", kDamaged);
    }
    const auto part = bytes_.subspan(offset_, count);
    offset_ += count;
    return part;
  }

  // A count of things of at least `smallest` bytes each: refused where the file cannot hold them.
  std::uint64_t take_count(std::uint64_t smallest, std::string_view what) {
    const auto count = take<std::uint64_t>(what);
    if (count > left() / smallest) {
      fail(where_, ": ", what, " is ", count, ", but only ", left(), " bytes are left in the file", kDamaged);
    }
    return count;
  }

  std::uint64_t left() const { return bytes_.size() - offset_; }
  std::uint64_t offset() const { return offset_; }
  const std::string& where() const { return where_; }

 private:
  std::span<const std::byte> bytes_;
  std::string where_;
  std::uint64_t offset_ = 0;
};

template <typename T>
T take_value(Cursor& cursor, std::string_view what) {
  if constexpr (std::is_same_v<T, std::string>) {
    return cursor.take_string(what);
  } else if constexpr (std::is_same_v<T, bool>) {
    return cursor.take<std::uint8_t>(what) != 0;
  } else {
    return cursor.take<T>(what);
  }
}

template <typename T>
GgufArray take_vector(Cursor& cursor, const std::string& what) {
  constexpr std::uint64_t kSmallest = std::is_same_v<T, std::string> ? 8 : sizeof(T);
  const auto count = cursor.take_count(kSmallest, what);
  std::vector<T> values;
  values.reserve(count);
  for (std::uint64_t i = 0; i < count; ++i) values.push_back(take_value<T>(cursor, what));
  return values;
}

[[noreturn]] void fail_value_type(const Cursor& cursor, const std::string& what, std::uint32_t type) {
  fail(cursor.where(), ": ", what, " has value type ", type, ", known are 0 to 12 (of GGUF 3)", kDamaged);
}

GgufArray take_array(Cursor& cursor, const std::string& what) {
  const auto type = cursor.take<std::uint32_t>(what);
  switch (type) {
    case 0:
      return take_vector<std::uint8_t>(cursor, what);
    case 1:
      return take_vector<std::int8_t>(cursor, what);
    case 2:
      return take_vector<std::uint16_t>(cursor, what);
    case 3:
      return take_vector<std::int16_t>(cursor, what);
    case 4:
      return take_vector<std::uint32_t>(cursor, what);
    case 5:
      return take_vector<std::int32_t>(cursor, what);
    case 6:
      return take_vector<float>(cursor, what);
    case 7:
      return take_vector<bool>(cursor, what);
    case 8:
      return take_vector<std::string>(cursor, what);
    case kGgufArray:
      fail(cursor.where(), ": ", what,
           " is an array of arrays, which is not supported: expected a flat array");
    case 10:
      return take_vector<std::uint64_t>(cursor, what);
    case 11:
      return take_vector<std::int64_t>(cursor, what);
    case 12:
      return take_vector<double>(cursor, what);
    default:
      fail_value_type(cursor, what, type);
  }
}

GgufValue take_metadata_value(Cursor& cursor, const std::string& what) {
  const auto type = cursor.take<std::uint32_t>(what);
  switch (type) {
    case 0:
      return take_value<std::uint8_t>(cursor, what);
    case 1:
      return take_value<std::int8_t>(cursor, what);
    case 2:
      return take_value<std::uint16_t>(cursor, what);
    case 3:
      return take_value<std::int16_t>(cursor, what);
    case 4:
      return take_value<std::uint32_t>(cursor, what);
    case 5:
      return take_value<std::int32_t>(cursor, what);
    case 6:
      return take_value<float>(cursor, what);
    case 7:
      return take_value<bool>(cursor, what);
    case 8:
      return take_value<std::string>(cursor, what);
    case kGgufArray:
      return take_array(cursor, what);
    case 10:
      return take_value<std::uint64_t>(cursor, what);
    case 11:
      return take_value<std::int64_t>(cursor, what);
    case 12:
      return take_value<double>(cursor, what);
    default:
      fail_value_type(cursor, what, type);
  }
}

std::uint32_t take_version(Cursor& cursor) {
  constexpr std::string_view kMagic = "GGUF";
  const auto magic = cursor.take_bytes(kMagic.size(), "the magic word");
  if (std::memcmp(magic.data(), kMagic.data(), kMagic.size()) != 0) {
    fail(cursor.where(), ": not a GGUF file: it should begin with \"GGUF\", found ",
         quoted_name({reinterpret_cast<const char*>(magic.data()), magic.size()}));
  }
  const auto version = cursor.take<std::uint32_t>("the version");
  if (version == 2 || version == 3) return version;
  const bool big_endian = (version & 0xffffU) == 0 && version != 0;
  fail(cursor.where(), ": GGUF version ", version, big_endian ? " (a big-endian file)" : "",
       ", expected 2 or 3, little-endian: convert the model with a current llama.cpp");
}

struct TensorHeader {
  GgufTensor tensor;
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
};

std::vector<std::int64_t> take_shape(Cursor& cursor, const std::string& what) {
  const auto dimensions = cursor.take<std::uint32_t>(what);
  if (dimensions == 0 || dimensions > kMaxDimensions) {
    fail(cursor.where(), ": ", what, " has ", dimensions, " dimensions, expected 1 to ", kMaxDimensions,
         kDamaged);
  }
  std::vector<std::int64_t> shape(dimensions);
  for (std::int64_t& size : shape) size = cursor.take<std::int64_t>(what);
  std::reverse(shape.begin(), shape.end());  // the file keeps the fastest dimension first
  const bool positive = std::all_of(shape.begin(), shape.end(), [](std::int64_t size) { return size > 0; });
  if (!positive || !shape_product(shape)) {
    fail(cursor.where(), ": ", what, " has shape ", shape_to_string(shape), ", which cannot exist", kDamaged);
  }
  return shape;
}

TensorHeader take_tensor(Cursor& cursor) {
  TensorHeader header;
  GgufTensor& tensor = header.tensor;
  tensor.name = cursor.take_string("a tensor name");
  const std::string what = "tensor " + quoted_name(tensor.name);
  tensor.shape = take_shape(cursor, what);
  const auto type = cursor.take<std::uint32_t>(what);
  const GgmlTypeInfo* info = find_ggml_type(type);
  if (info == nullptr) {
    fail(cursor.where(), ": ", what, " has ggml type id ", type, ", which is not known; readable are ",
         known_ggml_types());
  }
  tensor.type = info->type;
  if (tensor.cols() % info->block_elements != 0) {
    fail(cursor.where(), ": ", what, " has rows of ", tensor.cols(), " elements, expected a multiple of ",
         info->block_elements, " for ", info->name, kDamaged);
  }
  const std::uint64_t blocks = static_cast<std::uint64_t>(tensor.elements() / info->block_elements);
  if (__builtin_mul_overflow(blocks, info->block_bytes, &header.bytes)) {
    fail(cursor.where(), ": ", what, " has shape ", shape_to_string(tensor.shape), ", which cannot exist",
         kDamaged);
  }
  header.offset = cursor.take<std::uint64_t>(what);
  return header;
}

void check_range(const TensorHeader& header, std::uint64_t available, std::uint64_t alignment,
                 const std::string& where) {
  const std::string what = concat(where, ": tensor ", quoted_name(header.tensor.name));
  if (header.offset % alignment != 0) {
    fail(what, " begins at offset ", header.offset, ", expected a multiple of the alignment ", alignment,
         kDamaged);
  }
  if (header.offset > available || header.bytes > available - header.offset) {
    fail(what, " needs bytes ", header.offset, " to ", header.offset, " + ", header.bytes,
         " of the data, but only ", available, " bytes are there", kDamaged);
  }
}

void check_overlap(const std::vector<TensorHeader>& headers, const std::string& where) {
  std::vector<const TensorHeader*> sorted;
  for (const TensorHeader& header : headers) sorted.push_back(&header);
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const auto* a, const auto* b) { return a->offset < b->offset; });
  for (std::size_t i = 1; i < sorted.size(); ++i) {
    const TensorHeader& before = *sorted[i - 1];
    if (before.offset + before.bytes > sorted[i]->offset) {
      fail(where, ": tensors ", quoted_name(before.tensor.name), " and ", quoted_name(sorted[i]->tensor.name),
           " overlap in the data", kDamaged);
    }
  }
}

std::uint64_t checked_alignment(std::uint64_t alignment, const std::string& where) {
  if (!std::has_single_bit(alignment)) {
    fail(where, ": general.alignment is ", alignment, ", expected a power of two", kDamaged);
  }
  return alignment;
}

}  // namespace

std::int64_t GgufTensor::elements() const { return shape_product(shape).value(); }

GgufFile::GgufFile(const std::filesystem::path& path) : file_(std::make_shared<MappedFile>(path)) {
  Cursor cursor(file_->bytes(), path.string());
  version_ = take_version(cursor);
  const auto tensor_count = cursor.take_count(kSmallestTensor, "the number of tensors");
  const auto pair_count = cursor.take_count(kSmallestPair, "the number of metadata keys");
  for (std::uint64_t i = 0; i < pair_count; ++i) {
    std::string key = cursor.take_string("a metadata key");
    const std::string what = "GGUF key " + quoted_name(key);
    if (!value_index_.emplace(key, metadata_.size()).second)
      fail(cursor.where(), ": ", what, " stands twice");
    metadata_.emplace_back(std::move(key), take_metadata_value(cursor, what));
  }
  alignment_ = checked_alignment(get_or<std::uint32_t>("general.alignment", 32), cursor.where());
  std::vector<TensorHeader> headers;
  headers.reserve(tensor_count);
  for (std::uint64_t i = 0; i < tensor_count; ++i) headers.push_back(take_tensor(cursor));

  const std::uint64_t file_size = file_->bytes().size();
  const std::uint64_t data_start =
      std::min(file_size, (cursor.offset() + alignment_ - 1) / alignment_ * alignment_);
  for (TensorHeader& header : headers) {
    check_range(header, file_size - data_start, alignment_, cursor.where());
    header.tensor.data = file_->bytes().subspan(data_start + header.offset, header.bytes);
  }
  check_overlap(headers, cursor.where());
  for (TensorHeader& header : headers) {
    const std::string& name = header.tensor.name;
    if (!tensor_index_.emplace(name, tensors_.size()).second) {
      fail(cursor.where(), ": tensor ", quoted_name(name), " stands twice, expected once", kDamaged);
    }
    tensors_.push_back(std::move(header.tensor));
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
