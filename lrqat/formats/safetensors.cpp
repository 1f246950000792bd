#include "lrqat/formats/safetensors.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "lrqat/base/error.h"
#include "lrqat/base/json.h"
#include "lrqat/formats/messages.h"

namespace lrqat::formats {
namespace {

constexpr std::string_view kDamaged = ": the file is damaged or cut short; fetch or export it again";

struct Entry {
  TensorView tensor;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

std::string tensor_in(const std::string& where, const std::string& name) {
  return concat(where, ": tensor ", quoted_name(name));
}

std::string_view header_text(std::span<const std::byte> bytes, const std::string& where) {
  std::uint64_t length = 0;
  if (bytes.size() < sizeof length) {
    fail(where, ": not a safetensors file: expected at least 8 bytes, found ", bytes.size());
  }
  std::memcpy(&length, bytes.data(), sizeof length);
  if (length > kMaxSafetensorsHeader) {
    fail(where, ": not a safetensors file: its header would be ", length, " bytes, expected at most ",
         kMaxSafetensorsHeader);
  }
  if (length > bytes.size() - sizeof length) {
    fail(where, ": header of ", length, " bytes announced, but only ", bytes.size() - sizeof length,
         " bytes follow", kDamaged);
  }
  return {reinterpret_cast<const char*>(bytes.data()) + sizeof length, static_cast<std::size_t>(length)};
}

// Parses the header; refuses a name that stands twice (JSON parsers keep the last one silently) and nesting
// deeper than the format has.
Json parse_header(std::string_view text, const std::string& where) {
  const auto twice = [&](const std::string& key, int depth) {
    fail(depth == 1 ? tensor_in(where, key) : concat(where, ": ", quoted_name(key)),
         ": name stands twice in the header, expected once");
  };
  const Json header =
      parse_json(text, where + ": the safetensors header", {.deepest = 4, .repeated_key = twice});
  if (!header.is_object())
    fail(where, ": the safetensors header must be a JSON object, found ", header.type_name());
  return header;
}

const Json& member(const Json& object, const char* key, const std::string& where) {
  const auto it = object.find(key);
  if (it == object.end()) fail(where, ": \"", key, "\" is missing in the header");
  return *it;
}

std::vector<std::int64_t> parse_shape(const Json& json, const std::string& where) {
  if (!json.is_array()) fail(where, ": shape must be a list of sizes, found ", json_excerpt(json));
  std::vector<std::int64_t> shape;
  for (const Json& size : json) {
    if (!size.is_number_unsigned() || size.get<std::uint64_t>() > INT64_MAX) {
      fail(where, ": shape has size ", json_excerpt(size), ", expected a whole number of at least 0");
    }
    shape.push_back(size.get<std::int64_t>());
  }
  return shape;
}

DType parse_stored_dtype(const Json& json, const std::string& where) {
  if (!json.is_string()) fail(where, ": dtype must be a string, found ", json_excerpt(json));
  const auto name = json.get<std::string>();
  const auto dtype = parse_dtype(name);
  if (!dtype) fail(where, ": unknown dtype ", quoted_name(name), ", known are ", known_dtype_names());
  return *dtype;
}

void check_size(const Entry& entry, const std::string& where) {
  const TensorView& tensor = entry.tensor;
  const auto elements = shape_product(tensor.shape);
  std::int64_t bytes = 0;
  if (!elements ||
      __builtin_mul_overflow(*elements, static_cast<std::int64_t>(dtype_size(tensor.dtype)), &bytes)) {
    fail(where, ": shape ", shape_to_string(tensor.shape), " is too large to exist", kDamaged);
  }
  if (static_cast<std::uint64_t>(bytes) != entry.end - entry.begin) {
    fail(where, ": shape ", shape_to_string(tensor.shape), " of ", dtype_name(tensor.dtype), " needs ", bytes,
         " bytes, data_offsets [", entry.begin, ", ", entry.end, "] hold ", entry.end - entry.begin,
         kDamaged);
  }
}

Entry parse_entry(const std::string& name, const Json& json, std::span<const std::byte> buffer,
                  const std::string& file) {
  const std::string where = tensor_in(file, name);
  if (!json.is_object()) fail(where, ": expected an object with dtype, shape and data_offsets");
  const Json& offsets = member(json, "data_offsets", where);
  if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() ||
      !offsets[1].is_number_unsigned()) {
    fail(where, ": data_offsets must be [begin, end], found ", json_excerpt(offsets));
  }
  Entry entry;
  entry.begin = offsets[0].get<std::uint64_t>();
  entry.end = offsets[1].get<std::uint64_t>();
  if (entry.begin > entry.end || entry.end > buffer.size()) {
    fail(where, ": data_offsets [", entry.begin, ", ", entry.end, "] lie outside the ", buffer.size(),
         " bytes of data", kDamaged);
  }
  entry.tensor.name = name;
  entry.tensor.dtype = parse_stored_dtype(member(json, "dtype", where), where);
  entry.tensor.shape = parse_shape(member(json, "shape", where), where);
  check_size(entry, where);
  entry.tensor.data = buffer.subspan(entry.begin, entry.end - entry.begin);
  return entry;
}

Metadata parse_metadata(const Json& json, const std::string& where) {
  if (!json.is_object()) fail(where, ": __metadata__ must be an object of strings");
  Metadata metadata;
  for (const auto& [key, value] : json.items()) {
    if (!value.is_string()) fail(where, ": __metadata__ ", quoted_name(key), " must be a string");
    metadata[key] = value.get<std::string>();
  }
  return metadata;
}

// Sorts by offset and checks that the entries follow each other without gap or overlap up to the end.
void check_cover(std::vector<Entry>& entries, std::uint64_t buffer_size, const std::string& where) {
  std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  std::uint64_t expected = 0;
  for (const Entry& entry : entries) {
    if (entry.begin != expected) {
      fail(tensor_in(where, entry.tensor.name), ": data begins at offset ", entry.begin, ", expected ",
           expected,
           entry.begin < expected ? " (it overlaps the tensor before it)" : " (there is a gap before it)",
           kDamaged);
    }
    expected = entry.end;
  }
  if (expected != buffer_size) {
    fail(where, ": the tensors cover ", expected, " bytes, but ", buffer_size,
         " bytes of data follow the header", kDamaged);
  }
}

}  // namespace

std::int64_t TensorView::elements() const { return shape_product(shape).value(); }

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path)
    : file_(std::make_shared<MappedFile>(path)) {
  const std::string where = path.string();
  const std::string_view text = header_text(file_->bytes(), where);
  const auto buffer = file_->bytes().subspan(sizeof(std::uint64_t) + text.size());
  const Json header = parse_header(text, where);
  std::vector<Entry> entries;
  for (const auto& [name, json] : header.items()) {
    if (name == "__metadata__") {
      metadata_ = parse_metadata(json, where);
    } else {
      entries.push_back(parse_entry(name, json, buffer, where));
    }
  }
  check_cover(entries, buffer.size(), where);
  for (Entry& entry : entries) {
    index_.emplace(entry.tensor.name, tensors_.size());
    tensors_.push_back(std::move(entry.tensor));
  }
}

const TensorView* SafetensorsFile::find(std::string_view name) const {
  const auto it = index_.find(std::string(name));
  return it == index_.end() ? nullptr : &tensors_[it->second];
}

const TensorView& SafetensorsFile::at(std::string_view name) const {
  if (const TensorView* tensor = find(name)) return *tensor;
  std::vector<std::string> names;
  for (const TensorView& tensor : tensors_) names.push_back(tensor.name);
  fail(path().string(), ": no tensor ", quoted_name(name), near_names_hint(name, names));
}

}  // namespace lrqat::formats
