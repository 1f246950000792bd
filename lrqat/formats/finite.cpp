#include "lrqat/formats/finite.h"

#include <array>
#include <cmath>
#include <cstring>
#include <span>

#include "lrqat/base/error.h"
#include "lrqat/formats/ggml_blocks.h"

namespace lrqat::formats {
namespace {

constexpr std::uint16_t kFloat16Exponent = 0x7c00, kBfloat16Exponent = 0x7f80;
constexpr std::uint32_t kFloat32Exponent = 0x7f800000;

// An exponent of ones alone is an infinity or NaN.
template <typename Word>
bool words_finite(const std::byte* source, std::int64_t n, Word exponent) {
  unsigned bad = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    Word word;
    std::memcpy(&word, source + static_cast<std::size_t>(i) * sizeof word, sizeof word);
    bad |= static_cast<unsigned>((word & exponent) == exponent);
  }
  return bad == 0;
}

bool doubles_finite(const std::byte* source, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i, source += sizeof(double)) {
    double value = 0;
    std::memcpy(&value, source, sizeof value);
    if (!std::isfinite(static_cast<float>(value))) return false;
  }
  return true;
}

// Where the float16 words of a block are. Products with the small scales of the second level cannot overflow
// float32.
struct HalfWords {
  GgmlType type;
  std::array<std::size_t, 2> at;
};
constexpr std::array kHalfWords = std::to_array<HalfWords>({
    {GgmlType::Q4_0, {offsetof(BlockQ4_0, d), offsetof(BlockQ4_0, d)}},
    {GgmlType::Q4_1, {offsetof(BlockQ4_1, d), offsetof(BlockQ4_1, m)}},
    {GgmlType::Q5_0, {offsetof(BlockQ5_0, d), offsetof(BlockQ5_0, d)}},
    {GgmlType::Q5_1, {offsetof(BlockQ5_1, d), offsetof(BlockQ5_1, m)}},
    {GgmlType::Q8_0, {offsetof(BlockQ8_0, d), offsetof(BlockQ8_0, d)}},
    {GgmlType::Q2_0, {offsetof(BlockQ2_0, d), offsetof(BlockQ2_0, d)}},
    {GgmlType::Q2_K, {offsetof(BlockQ2_K, d), offsetof(BlockQ2_K, dmin)}},
    {GgmlType::Q3_K, {offsetof(BlockQ3_K, d), offsetof(BlockQ3_K, d)}},
    {GgmlType::Q4_K, {offsetof(BlockQ4_K, d), offsetof(BlockQ4_K, dmin)}},
    {GgmlType::Q5_K, {offsetof(BlockQ5_K, d), offsetof(BlockQ5_K, dmin)}},
    {GgmlType::Q6_K, {offsetof(BlockQ6_K, d), offsetof(BlockQ6_K, d)}},
    {GgmlType::IQ4_NL, {offsetof(BlockIQ4_NL, d), offsetof(BlockIQ4_NL, d)}},
    {GgmlType::IQ4_XS, {offsetof(BlockIQ4_XS, d), offsetof(BlockIQ4_XS, d)}},
});

bool blocks_finite(const HalfWords& words, const std::byte* source, std::int64_t n) {
  const GgmlTypeInfo& info = ggml_type_info(words.type);
  for (std::int64_t i = 0; i < n; i += info.block_elements, source += info.block_bytes) {
    for (const std::size_t at : words.at) {
      if (!words_finite(source + at, 1, kFloat16Exponent)) return false;
    }
  }
  return true;
}

}  // namespace

bool all_finite(GgmlType type, const std::byte* source, std::int64_t n) {
  switch (type) {
    case GgmlType::F32:
      return words_finite(source, n, kFloat32Exponent);
    case GgmlType::F16:
      return words_finite(source, n, kFloat16Exponent);
    case GgmlType::BF16:
      return words_finite(source, n, kBfloat16Exponent);
    case GgmlType::F64:
      return doubles_finite(source, n);
    default:
      break;
  }
  for (const HalfWords& words : kHalfWords) {
    if (words.type == type) return blocks_finite(words, source, n);
  }
  internal_error(__FILE__, __LINE__, "the type has float16 words", std::string(ggml_type_name(type)));
}

}  // namespace lrqat::formats
