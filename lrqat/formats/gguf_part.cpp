// The reader of one file. Every count and length in it is checked against the bytes that are left before
// anything is allocated for it.
#include "lrqat/formats/gguf_part.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "lrqat/formats/dtype.h"
#include "lrqat/formats/gguf_cursor.h"
#include "lrqat/formats/messages.h"

namespace lrqat::formats {
namespace {

constexpr std::uint32_t kMaxDimensions = 4;         // GGML_MAX_DIMS
constexpr std::uint64_t kSmallestPair = 8 + 4 + 1;  // key length, type, one byte of value
constexpr std::uint64_t kSmallestTensor =
    8 + 4 + 8 + 4 + 8;  // name length, dimensions, one size, type, offset

static_assert(std::endian::native == std::endian::little, "GGUF files are read as they lie in memory");

std::uint32_t take_version(GgufCursor& cursor) {
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

std::vector<std::int64_t> take_shape(GgufCursor& cursor, const std::string& what) {
  const auto dimensions = cursor.take<std::uint32_t>(what);
  if (dimensions == 0 || dimensions > kMaxDimensions) {
    fail(cursor.where(), ": ", what, " has ", dimensions, " dimensions, expected 1 to ", kMaxDimensions,
         kGgufDamaged);
  }
  std::vector<std::int64_t> shape(dimensions);
  for (std::int64_t& size : shape) size = cursor.take<std::int64_t>(what);
  std::reverse(shape.begin(), shape.end());  // the file keeps the fastest dimension first
  const bool positive = std::all_of(shape.begin(), shape.end(), [](std::int64_t size) { return size > 0; });
  if (!positive || !shape_product(shape)) {
    fail(cursor.where(), ": ", what, " has shape ", shape_to_string(shape), ", which cannot exist",
         kGgufDamaged);
  }
  return shape;
}

TensorHeader take_tensor(GgufCursor& cursor) {
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
         info->block_elements, " for ", info->name, kGgufDamaged);
  }
  const std::uint64_t blocks = static_cast<std::uint64_t>(tensor.elements() / info->block_elements);
  if (__builtin_mul_overflow(blocks, info->block_bytes, &header.bytes)) {
    fail(cursor.where(), ": ", what, " has shape ", shape_to_string(tensor.shape), ", which cannot exist",
         kGgufDamaged);
  }
  header.offset = cursor.take<std::uint64_t>(what);
  return header;
}

void check_range(const TensorHeader& header, std::uint64_t available, std::uint64_t alignment,
                 const std::string& where) {
  const std::string what = concat(where, ": tensor ", quoted_name(header.tensor.name));
  if (header.offset % alignment != 0) {
    fail(what, " begins at offset ", header.offset, ", expected a multiple of the alignment ", alignment,
         kGgufDamaged);
  }
  if (header.offset > available || header.bytes > available - header.offset) {
    fail(what, " needs bytes ", header.offset, " to ", header.offset, " + ", header.bytes,
         " of the data, but only ", available, " bytes are there", kGgufDamaged);
  }
}

void check_overlap(const std::vector<TensorHeader>& headers, const std::string& where) {
  std::vector<const TensorHeader*> sorted;
  sorted.reserve(headers.size());
  for (const TensorHeader& header : headers) sorted.push_back(&header);
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const auto* a, const auto* b) { return a->offset < b->offset; });
  for (std::size_t i = 1; i < sorted.size(); ++i) {
    const TensorHeader& before = *sorted[i - 1];
    if (before.offset + before.bytes > sorted[i]->offset) {
      fail(where, ": tensors ", quoted_name(before.tensor.name), " and ", quoted_name(sorted[i]->tensor.name),
           " overlap in the data", kGgufDamaged);
    }
  }
}

std::vector<TensorHeader> take_tensors(GgufCursor& cursor, std::uint64_t count) {
  std::vector<TensorHeader> headers;
  headers.reserve(count);
  for (std::uint64_t i = 0; i < count; ++i) headers.push_back(take_tensor(cursor));
  return headers;
}

// Where the data begins: behind the header, aligned (and not behind the file's end, where tensors are then
// missing).
std::uint64_t data_start(const GgufCursor& cursor, std::uint64_t alignment) {
  const std::uint64_t aligned = (cursor.offset() + alignment - 1) / alignment * alignment;
  return std::min(aligned, cursor.offset() + cursor.left());
}

void place_tensors(std::vector<TensorHeader>& headers, std::span<const std::byte> data,
                   std::uint64_t alignment, const std::string& where) {
  for (TensorHeader& header : headers) {
    check_range(header, data.size(), alignment, where);
    header.tensor.data = data.subspan(header.offset, header.bytes);
  }
  check_overlap(headers, where);
}

std::uint64_t checked_alignment(std::uint64_t alignment, const std::string& where) {
  if (!std::has_single_bit(alignment)) {
    fail(where, ": general.alignment is ", alignment, ", expected a power of two", kGgufDamaged);
  }
  return alignment;
}

std::uint64_t alignment_of(const GgufPart& part, const std::string& where) {
  const GgufValue* value = part.find_value("general.alignment");
  std::uint64_t alignment = 32;
  if (value != nullptr && !convert_gguf_value(*value, alignment)) {
    fail(where, ": general.alignment is of type ", gguf_type_name(*value), ", expected uint32", kGgufDamaged);
  }
  return checked_alignment(alignment, where);
}

}  // namespace

const GgufValue* GgufPart::find_value(std::string_view key) const {
  const auto found =
      std::find_if(metadata.begin(), metadata.end(), [&](const auto& pair) { return pair.first == key; });
  return found == metadata.end() ? nullptr : &found->second;
}

GgufPart read_gguf_part(const std::filesystem::path& path) {
  GgufPart part{.file = std::make_shared<MappedFile>(path)};
  const std::string where = path.string();
  GgufCursor cursor(part.file->bytes(), where);
  part.version = take_version(cursor);
  const auto tensor_count = cursor.take_count(kSmallestTensor, "the number of tensors");
  const auto pair_count = cursor.take_count(kSmallestPair, "the number of metadata keys");
  part.metadata = take_gguf_pairs(cursor, pair_count);
  part.alignment = alignment_of(part, where);
  auto headers = take_tensors(cursor, tensor_count);
  place_tensors(headers, part.file->bytes().subspan(data_start(cursor, part.alignment)), part.alignment,
                where);
  for (TensorHeader& header : headers) part.tensors.push_back(std::move(header.tensor));
  return part;
}

}  // namespace lrqat::formats
