// Metadata values: names of their types and reading them as what the caller asks for.
#include <array>
#include <type_traits>
#include <utility>

#include "lrqat/formats/gguf.h"

namespace lrqat::formats {
namespace {

constexpr std::array<std::string_view, 13> kTypeNames{"uint8",  "int8",    "uint16", "int16",  "uint32",
                                                      "int32",  "float32", "bool",   "string", "array",
                                                      "uint64", "int64",   "float64"};

template <typename T>
constexpr bool kIsInteger = std::is_integral_v<T> && !std::is_same_v<T, bool>;

template <typename Wanted, typename Stored>
bool convert_scalar(const Stored& stored, Wanted& out) {
  if constexpr (kIsInteger<Wanted> && kIsInteger<Stored>) {
    if (!std::in_range<Wanted>(stored)) return false;
    out = static_cast<Wanted>(stored);  // NOLINT(bugprone-signed-char-misuse): int8 is a number here
    return true;
  } else if constexpr (std::is_floating_point_v<Wanted> && std::is_floating_point_v<Stored>) {
    out = static_cast<Wanted>(stored);
    return true;
  } else if constexpr (std::is_same_v<Wanted, Stored>) {
    out = stored;
    return true;
  } else {
    return false;
  }
}

template <typename Wanted>
bool convert_value(const GgufValue& value, Wanted& out) {
  return std::visit([&](const auto& stored) { return convert_scalar(stored, out); }, value);
}

template <typename Wanted>
bool convert_array(const GgufValue& value, std::vector<Wanted>& out) {
  const auto* array = std::get_if<GgufArray>(&value);
  if (array == nullptr) return false;
  const auto convert_all = [&](const auto& stored) {
    using Stored = std::decay_t<decltype(stored)>;
    if constexpr (std::is_same_v<Stored, std::monostate>) {
      return false;
    } else {
      out.clear();
      out.reserve(stored.size());
      for (std::size_t i = 0; i < stored.size(); ++i) {
        Wanted element{};
        const typename Stored::value_type& item = stored[i];
        if (!convert_scalar(item, element)) return false;
        out.push_back(std::move(element));
      }
      return true;
    }
  };
  return std::visit(convert_all, *array);
}

}  // namespace

std::string gguf_type_name(const GgufValue& value) {
  const auto* array = std::get_if<GgufArray>(&value);
  if (array == nullptr) return std::string(kTypeNames[value.index()]);
  return "array of " + std::string(kTypeNames[array->index()]);
}

bool convert_gguf_value(const GgufValue& value, std::int64_t& out) { return convert_value(value, out); }
bool convert_gguf_value(const GgufValue& value, std::uint64_t& out) { return convert_value(value, out); }
bool convert_gguf_value(const GgufValue& value, double& out) { return convert_value(value, out); }
bool convert_gguf_value(const GgufValue& value, bool& out) { return convert_value(value, out); }
bool convert_gguf_value(const GgufValue& value, std::string& out) { return convert_value(value, out); }
bool convert_gguf_value(const GgufValue& value, std::vector<std::int64_t>& out) {
  return convert_array(value, out);
}
bool convert_gguf_value(const GgufValue& value, std::vector<float>& out) { return convert_array(value, out); }
bool convert_gguf_value(const GgufValue& value, std::vector<bool>& out) { return convert_array(value, out); }
bool convert_gguf_value(const GgufValue& value, std::vector<std::string>& out) {
  return convert_array(value, out);
}

}  // namespace lrqat::formats
