// The element types of safetensors files: names, sizes, and reading their values as float.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lrqat::formats {

// The 8-bit float kinds are named so that a file holding them can be listed; reading them as float is
// refused.
enum class DType : std::uint8_t {
  F64,
  F32,
  F16,
  BF16,
  I64,
  I32,
  I16,
  I8,
  U64,
  U32,
  U16,
  U8,
  BOOL,
  F8_E4M3,
  F8_E5M2,
  F8_E8M0,
};

std::size_t dtype_size(DType dtype);
std::string_view dtype_name(DType dtype);                 // the name that stands in the file: "BF16"
std::optional<DType> parse_dtype(std::string_view name);  // nullopt: not a name of ours
std::string known_dtype_names();                          // "F64, F32, …" for messages
bool is_readable_float(DType dtype);                      // F64, F32, F16, BF16

// Product of the sizes; nullopt where a size is negative or the product leaves int64.
std::optional<std::int64_t> shape_product(std::span<const std::int64_t> shape);
std::string shape_to_string(std::span<const std::int64_t> shape);  // "[49152, 576]"

}  // namespace lrqat::formats
