#include "lrqat/formats/ggml_codes.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "lrqat/base/error.h"
#include "lrqat/formats/ggml_numbers.h"

namespace lrqat::formats {
namespace {

using namespace numbers;

using Codes = std::span<const std::int8_t>;
using OutCodes = std::span<std::int8_t>;

// ---- the same for all of them

template <typename Format>
void encode_block(Codes codes, std::uint16_t scale, int low, std::byte* out) {
  typename Format::Block block{};
  Format::begin(block, scale, low);
  for (std::size_t i = 0; i < codes.size(); ++i) Format::put(block, i, Format::number(codes[i], low));
  std::memcpy(out, &block, sizeof block);
}

template <typename Format>
bool decode_block(const std::byte* source, int low, OutCodes codes, std::uint16_t& scale) {
  typename Format::Block block;
  std::memcpy(&block, source, sizeof block);
  scale = Format::scale(block, low);
  for (std::size_t i = 0; i < codes.size(); ++i) {
    codes[i] = static_cast<std::int8_t>(Format::code(Format::get(block, i), low));
  }
  // Scales of the second level, offsets: whatever else is in the block must be what goes with this scale.
  std::array<std::byte, sizeof block> again{};
  encode_block<Format>(codes, scale, low, again.data());
  return std::memcmp(again.data(), source, sizeof block) == 0;
}

template <typename Format>
constexpr CodeBlockType row(GgmlType type) {
  return {type, Format::holds, nullptr, encode_block<Format>, decode_block<Format>};
}

constexpr CodeBlockType row_with_minimum(GgmlType type) {
  return {type, Q4_1::holds, Q4_1::holds_scale, encode_block<Q4_1>, decode_block<Q4_1>};
}

constexpr std::array kTypes = std::to_array<CodeBlockType>({
    row<Q2_0>(GgmlType::Q2_0),
    row<Q2_K>(GgmlType::Q2_K),
    row<Q3_K>(GgmlType::Q3_K),
    row<Q4_0>(GgmlType::Q4_0),
    row<Q4_K>(GgmlType::Q4_K),
    row_with_minimum(GgmlType::Q4_1),
    row<Q5_0>(GgmlType::Q5_0),
    row<Q6_K>(GgmlType::Q6_K),
    row<Q8_0>(GgmlType::Q8_0),
});

// Codes that share one entry of `parts`.
std::size_t codes_per(std::size_t codes, std::size_t parts, std::int64_t block) {
  LRQAT_CHECK(parts > 0 && codes % parts == 0, codes, " codes for ", parts, " scales");
  LRQAT_CHECK(static_cast<std::int64_t>(codes / parts) % block == 0, codes / parts,
              " codes a scale are not whole blocks of ", block);
  return codes / parts;
}

}  // namespace

std::span<const CodeBlockType> code_block_types() { return kTypes; }

const CodeBlockType* find_code_block_type(GgmlType type) {
  for (const CodeBlockType& row : kTypes) {
    if (row.type == type) return &row;
  }
  return nullptr;
}

std::string known_code_block_types() {
  std::string names;
  for (const CodeBlockType& row : kTypes) {
    names += names.empty() ? "" : ", ";
    for (const char letter : ggml_type_name(row.type)) {
      names += static_cast<char>(letter >= 'A' && letter <= 'Z' ? letter - 'A' + 'a' : letter);
    }
  }
  return names;
}

void encode_codes(const CodeBlockType& type, Codes codes, std::span<const std::uint16_t> scales,
                  std::span<const int> lows, std::byte* out) {
  if (codes.empty()) return;
  const GgmlTypeInfo& info = ggml_type_info(type.type);
  const auto block = static_cast<std::size_t>(info.block_elements);
  const std::size_t per_scale = codes_per(codes.size(), scales.size(), info.block_elements);
  LRQAT_CHECK(lows.size() == scales.size());
  for (std::size_t i = 0; i < codes.size(); i += block, out += info.block_bytes) {
    const Codes part = codes.subspan(i, block);
    const auto [least, most] = std::minmax_element(part.begin(), part.end());
    const int low = lows[i / per_scale];
    LRQAT_CHECK(*least >= low && type.holds(low, std::max<int>(*most, low)), "codes ",
                static_cast<int>(*least), " to ", static_cast<int>(*most), " in ", info.name);
    type.encode(part, scales[i / per_scale], low, out);
  }
}

bool decode_codes(const CodeBlockType& type, const std::byte* source, std::span<const int> lows,
                  OutCodes codes, std::span<std::uint16_t> scales) {
  const GgmlTypeInfo& info = ggml_type_info(type.type);
  const auto block = static_cast<std::size_t>(info.block_elements);
  LRQAT_CHECK(codes.size() == scales.size() * block, codes.size(), " codes for ", scales.size(), " blocks");
  const std::size_t per_low = codes_per(codes.size(), lows.size(), info.block_elements);
  for (std::size_t b = 0; b < scales.size(); ++b, source += info.block_bytes) {
    const int low = lows[b * block / per_low];
    if (!type.decode(source, low, codes.subspan(b * block, block), scales[b])) return false;
  }
  return true;
}

}  // namespace lrqat::formats
