// Taking values off a GGUF file's header, with every count and length checked against the bytes that are left
// before anything is allocated for it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lrqat/base/error.h"
#include "lrqat/formats/gguf.h"

namespace lrqat::formats {

inline constexpr std::string_view kGgufDamaged =
    ": the file is damaged or cut short; fetch or export it again";

// A position in the header.
class GgufCursor {
 public:
  GgufCursor(std::span<const std::byte> bytes, std::string where) : bytes_(bytes), where_(std::move(where)) {}

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
           " left)", kGgufDamaged);
    }
    const auto part = bytes_.subspan(offset_, count);
    offset_ += count;
    return part;
  }

  // A count of things of at least `smallest` bytes each: refused where the file cannot hold them.
  std::uint64_t take_count(std::uint64_t smallest, std::string_view what) {
    const auto count = take<std::uint64_t>(what);
    if (count > left() / smallest) {
      fail(where_, ": ", what, " is ", count, ", but only ", left(), " bytes are left in the file",
           kGgufDamaged);
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

using GgufPair = std::pair<std::string, GgufValue>;
std::vector<GgufPair> take_gguf_pairs(GgufCursor& cursor, std::uint64_t count);  // keys may still be double

}  // namespace lrqat::formats
