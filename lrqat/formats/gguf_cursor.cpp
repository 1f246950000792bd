#include "lrqat/formats/gguf_cursor.h"

#include <type_traits>

#include "lrqat/formats/messages.h"

namespace lrqat::formats {
namespace {

template <typename T>
T take_value(GgufCursor& cursor, std::string_view what) {
  if constexpr (std::is_same_v<T, std::string>) {
    return cursor.take_string(what);
  } else if constexpr (std::is_same_v<T, bool>) {
    return cursor.take<std::uint8_t>(what) != 0;
  } else {
    return cursor.take<T>(what);
  }
}

template <typename T>
GgufArray take_vector(GgufCursor& cursor, const std::string& what) {
  constexpr std::uint64_t kSmallest = std::is_same_v<T, std::string> ? 8 : sizeof(T);
  const auto count = cursor.take_count(kSmallest, what);
  std::vector<T> values;
  values.reserve(count);
  for (std::uint64_t i = 0; i < count; ++i) values.push_back(take_value<T>(cursor, what));
  return values;
}

[[noreturn]] void fail_value_type(const GgufCursor& cursor, const std::string& what, std::uint32_t type) {
  fail(cursor.where(), ": ", what, " has value type ", type, ", known are 0 to 12 (of GGUF 3)", kGgufDamaged);
}

GgufArray take_array(GgufCursor& cursor, const std::string& what) {
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

GgufValue take_metadata_value(GgufCursor& cursor, const std::string& what) {
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

}  // namespace

std::vector<GgufPair> take_gguf_pairs(GgufCursor& cursor, std::uint64_t count) {
  std::vector<GgufPair> pairs;
  pairs.reserve(count);
  for (std::uint64_t i = 0; i < count; ++i) {
    std::string key = cursor.take_string("a metadata key");
    GgufValue value = take_metadata_value(cursor, "GGUF key " + quoted_name(key));
    pairs.emplace_back(std::move(key), std::move(value));
  }
  return pairs;
}

}  // namespace lrqat::formats
