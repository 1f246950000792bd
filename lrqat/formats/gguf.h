// GGUF (ggml docs/gguf.md), versions 2 and 3, little-endian: metadata as typed key-value pairs, tensors
// memory-mapped. Shapes are row-major here, [rows, cols]: the file's `ne` reversed. A split file
// (NAME-0000i-of-0000n.gguf) is opened whole, whichever part is named.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "lrqat/base/error.h"
#include "lrqat/base/file.h"
#include "lrqat/formats/ggml_types.h"

namespace lrqat::formats {

// The alternatives stand at the index that is their type id in the file; 9 is the array type, and arrays of
// arrays are refused (llama.cpp reads none either).
using GgufArray =
    std::variant<std::vector<std::uint8_t>, std::vector<std::int8_t>, std::vector<std::uint16_t>,
                 std::vector<std::int16_t>, std::vector<std::uint32_t>, std::vector<std::int32_t>,
                 std::vector<float>, std::vector<bool>, std::vector<std::string>, std::monostate,
                 std::vector<std::uint64_t>, std::vector<std::int64_t>, std::vector<double>>;
using GgufValue =
    std::variant<std::uint8_t, std::int8_t, std::uint16_t, std::int16_t, std::uint32_t, std::int32_t, float,
                 bool, std::string, GgufArray, std::uint64_t, std::int64_t, double>;

inline constexpr std::size_t kGgufString = 8;
inline constexpr std::size_t kGgufArray = 9;

std::string gguf_type_name(const GgufValue& value);  // "uint32", "array of string"

// `value` as T: an integer from any integer type when it fits, a float from float32 or float64, bool, string,
// or a vector of one of these. False where the stored type does not hold a T.
bool convert_gguf_value(const GgufValue& value, std::int64_t& out);
bool convert_gguf_value(const GgufValue& value, std::uint64_t& out);
bool convert_gguf_value(const GgufValue& value, double& out);
bool convert_gguf_value(const GgufValue& value, bool& out);
bool convert_gguf_value(const GgufValue& value, std::string& out);
bool convert_gguf_value(const GgufValue& value, std::vector<std::int64_t>& out);
bool convert_gguf_value(const GgufValue& value, std::vector<float>& out);
bool convert_gguf_value(const GgufValue& value, std::vector<bool>& out);
bool convert_gguf_value(const GgufValue& value, std::vector<std::string>& out);

template <std::integral T>
requires(!std::same_as<T, bool> && !std::same_as<T, std::int64_t> &&
         !std::same_as<T, std::uint64_t>) bool convert_gguf_value(const GgufValue& value, T& out) {
  std::int64_t wide = 0;
  if (!convert_gguf_value(value, wide) || !std::in_range<T>(wide)) return false;
  out = static_cast<T>(wide);
  return true;
}

inline bool convert_gguf_value(const GgufValue& value, float& out) {
  double wide = 0;
  if (!convert_gguf_value(value, wide)) return false;
  out = static_cast<float>(wide);
  return true;
}

struct GgufTensor {
  std::string name;
  GgmlType type = GgmlType::F32;
  std::vector<std::int64_t> shape;  // row-major; 1-D tensors are [n]
  std::span<const std::byte> data;

  std::int64_t elements() const;
  std::int64_t cols() const { return shape.back(); }
  std::int64_t rows() const { return shape.size() < 2 ? 1 : elements() / cols(); }
};

struct GgufPart;  // gguf_part.h

class GgufFile {
 public:
  explicit GgufFile(const std::filesystem::path& path);  // maps and validates everything but the data itself

  std::uint32_t version() const { return version_; }
  std::uint64_t alignment() const { return alignment_; }
  const std::filesystem::path& path() const { return file()->path(); }
  const std::shared_ptr<MappedFile>& file() const { return files_.front(); }  // of a split file, the first

  const std::vector<std::pair<std::string, GgufValue>>& metadata() const { return metadata_; }  // file order
  bool has(std::string_view key) const { return find_value(key) != nullptr; }
  const GgufValue* find_value(std::string_view key) const;

  // Error that names key and file when it is missing or of another type.
  template <typename T>
  T get(std::string_view key) const {
    const GgufValue* value = find_value(key);
    if (value == nullptr) fail(path().string(), ": GGUF key \"", key, "\" is missing");
    T out{};
    if (!convert_gguf_value(*value, out)) fail_type(key, *value);
    return out;
  }
  template <typename T>
  T get_or(std::string_view key, T fallback) const {
    return has(key) ? get<T>(key) : fallback;
  }

  const std::vector<GgufTensor>& tensors() const { return tensors_; }  // file order
  const GgufTensor* find(std::string_view name) const;
  const GgufTensor& at(std::string_view name) const;  // Error that lists near names
  void release(const GgufTensor& tensor) const;

 private:
  void take(GgufPart part);
  [[noreturn]] void fail_type(std::string_view key, const GgufValue& value) const;

  std::vector<std::shared_ptr<MappedFile>> files_;
  std::uint32_t version_ = 0;
  std::uint64_t alignment_ = 32;
  std::vector<std::pair<std::string, GgufValue>> metadata_;
  std::unordered_map<std::string, std::size_t> value_index_;
  std::vector<GgufTensor> tensors_;
  std::unordered_map<std::string, std::size_t> tensor_index_;
};

// Writes a version 3 file: set() the metadata, declare() the tensors, then write() their data in declared
// order (in one or more pieces), then finish(). Without finish() nothing appears, nor where `verify`, which
// gets the name of the complete file, throws.
class GgufWriter {
 public:
  explicit GgufWriter(const std::filesystem::path& path, std::uint64_t alignment = 32);

  void set(const std::string& key, GgufValue value);  // Error where the key was set before
  void declare(const std::string& name, GgmlType type, std::vector<std::int64_t> shape);  // row-major shape
  void write(std::string_view name, std::span<const std::byte> data);
  void finish(const std::function<void(const std::filesystem::path&)>& verify = {});

 private:
  struct Declared {
    std::string name;
    GgmlType type;
    std::vector<std::int64_t> shape;
    std::uint64_t bytes;
    std::uint64_t offset;
  };
  void write_header();

  std::filesystem::path path_;
  std::uint64_t alignment_;
  std::vector<std::pair<std::string, GgufValue>> metadata_;
  std::vector<Declared> tensors_;
  AtomicFile file_;
  std::uint64_t data_start_ = 0;
  bool header_written_ = false;
  std::size_t current_ = 0;
  std::uint64_t written_ = 0;
};

}  // namespace lrqat::formats
