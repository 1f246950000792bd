#include "lrqat/formats/ggml_codes.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "lrqat/base/error.h"
#include "lrqat/base/half.h"
#include "lrqat/formats/ggml_blocks.h"

namespace lrqat::formats {
namespace {

using Codes = std::span<const std::int8_t>;
using OutCodes = std::span<std::int8_t>;

constexpr std::uint16_t kSignBit = 0x8000;

std::uint8_t byte(int value) { return static_cast<std::uint8_t>(value); }

// ---- what each block type does with an unsigned number u of element i, and with its scale: see the formulas
// in ggml_blocks.h and the element orders in ggml_dequantize.cpp.

struct Q4_0 {
  using Block = BlockQ4_0;
  static bool holds(int low, int high) { return low >= -8 && high <= 7; }
  static void begin(Block& block, std::uint16_t scale, int) { block.d = scale; }
  static int number(int code, int) { return code + 8; }
  static int code(int number, int) { return number - 8; }
  static void put(Block& block, std::size_t i, int u) { block.qs[i % 16] |= byte(u << (4 * (i / 16))); }
  static int get(const Block& block, std::size_t i) { return block.qs[i % 16] >> (4 * (i / 16)) & 0xf; }
  static std::uint16_t scale(const Block& block, int) { return block.d; }
};

// d·u + m with m = d·low
struct Q4_1 {
  using Block = BlockQ4_1;
  static std::uint16_t minimum(std::uint16_t scale, int low) {
    return float_to_float16(float16_to_float(scale) * static_cast<float>(low));
  }
  static bool holds(int low, int high) { return low <= 0 && high - low <= 15; }
  static bool holds_scale(std::uint16_t scale, int low) {
    return float16_to_float(minimum(scale, low)) == float16_to_float(scale) * static_cast<float>(low);
  }
  static void begin(Block& block, std::uint16_t scale, int low) {
    block.d = scale;
    block.m = minimum(scale, low);
  }
  static int number(int code, int low) { return code - low; }
  static int code(int number, int low) { return number + low; }
  static void put(Block& block, std::size_t i, int u) { block.qs[i % 16] |= byte(u << (4 * (i / 16))); }
  static int get(const Block& block, std::size_t i) { return block.qs[i % 16] >> (4 * (i / 16)) & 0xf; }
  static std::uint16_t scale(const Block& block, int) { return block.d; }
};

struct Q5_0 {
  using Block = BlockQ5_0;
  static bool holds(int low, int high) { return low >= -16 && high <= 15; }
  static void begin(Block& block, std::uint16_t scale, int) { block.d = scale; }
  static int number(int code, int) { return code + 16; }
  static int code(int number, int) { return number - 16; }
  static void put(Block& block, std::size_t i, int u) {
    block.qs[i % 16] |= byte((u & 0xf) << (4 * (i / 16)));
    block.qh[i / 8] |= byte(u >> 4 << (i % 8));
  }
  static int get(const Block& block, std::size_t i) {
    return (block.qs[i % 16] >> (4 * (i / 16)) & 0xf) | (block.qh[i / 8] >> (i % 8) & 1) << 4;
  }
  static std::uint16_t scale(const Block& block, int) { return block.d; }
};

struct Q8_0 {
  using Block = BlockQ8_0;
  static bool holds(int low, int high) { return low >= -128 && high <= 127; }
  static void begin(Block& block, std::uint16_t scale, int) { block.d = scale; }
  static int number(int code, int) { return code; }
  static int code(int number, int) { return number; }
  static void put(Block& block, std::size_t i, int u) { block.qs[i] = static_cast<std::int8_t>(u); }
  static int get(const Block& block, std::size_t i) { return block.qs[i]; }
  static std::uint16_t scale(const Block& block, int) { return block.d; }
};

// d·(u - 1) has -1..2; -2..1 are the same with d = -scale and the codes turned round.
struct Q2_0 {
  using Block = BlockQ2_0;
  static bool is_turned(int low) { return low < -1; }
  static bool holds(int low, int high) { return (low >= -2 && high <= 1) || (low >= -1 && high <= 2); }
  static void begin(Block& block, std::uint16_t scale, int low) {
    block.d = is_turned(low) ? scale ^ kSignBit : scale;
  }
  static int number(int code, int low) { return is_turned(low) ? 1 - code : code + 1; }
  static int code(int number, int low) { return is_turned(low) ? 1 - number : number - 1; }
  static void put(Block& block, std::size_t i, int u) { block.qs[i / 4] |= byte(u << (2 * (i % 4))); }
  static int get(const Block& block, std::size_t i) { return block.qs[i / 4] >> (2 * (i % 4)) & 3; }
  static std::uint16_t scale(const Block& block, int low) {
    return is_turned(low) ? block.d ^ kSignBit : block.d;
  }
};

// d·1·u - d·(-low)
struct Q2_K {
  using Block = BlockQ2_K;
  static bool holds(int low, int high) { return low >= -15 && low <= 0 && high - low <= 3; }
  static void begin(Block& block, std::uint16_t scale, int low) {
    block.d = block.dmin = scale;
    block.scales.fill(byte(1 | -low << 4));
  }
  static int number(int code, int low) { return code - low; }
  static int code(int number, int low) { return number + low; }
  static void put(Block& block, std::size_t i, int u) {
    block.qs[i / 128 * 32 + i % 32] |= byte(u << (2 * (i / 32 % 4)));
  }
  static int get(const Block& block, std::size_t i) {
    return block.qs[i / 128 * 32 + i % 32] >> (2 * (i / 32 % 4)) & 3;
  }
  static std::uint16_t scale(const Block& block, int) { return block.d; }
};

// d·(33 - 32)·(u - 4)
struct Q3_K {
  using Block = BlockQ3_K;
  static bool holds(int low, int high) { return low >= -4 && high <= 3; }
  static void begin(Block& block, std::uint16_t scale, int) {
    block.d = scale;
    std::fill_n(block.scales.begin(), 8, byte(0x11));      // the low four bits of 33, sixteen times
    std::fill_n(block.scales.begin() + 8, 4, byte(0xaa));  // its high two
  }
  static int number(int code, int) { return code + 4; }
  static int code(int number, int) { return number - 4; }
  static void put(Block& block, std::size_t i, int u) {
    block.qs[i / 128 * 32 + i % 32] |= byte((u & 3) << (2 * (i / 32 % 4)));
    block.hmask[i % 32] |= byte(u >> 2 << (i / 32));
  }
  static int get(const Block& block, std::size_t i) {
    return (block.qs[i / 128 * 32 + i % 32] >> (2 * (i / 32 % 4)) & 3) | (block.hmask[i % 32] >> (i / 32) & 1)
                                                                             << 2;
  }
  static std::uint16_t scale(const Block& block, int) { return block.d; }
};

// d·1·u - d·(-low); eight (1, -low) pairs, -low of at most four bits
struct Q4_K {
  using Block = BlockQ4_K;
  static bool holds(int low, int high) { return low >= -15 && low <= 0 && high - low <= 15; }
  static void begin(Block& block, std::uint16_t scale, int low) {
    block.d = block.dmin = scale;
    std::fill_n(block.scales.begin(), 4, byte(1));
    std::fill_n(block.scales.begin() + 4, 4, byte(-low));
    std::fill_n(block.scales.begin() + 8, 4, byte(1 | -low << 4));
  }
  static int number(int code, int low) { return code - low; }
  static int code(int number, int low) { return number + low; }
  static void put(Block& block, std::size_t i, int u) {
    block.qs[i / 64 * 32 + i % 32] |= byte(u << (4 * (i / 32 % 2)));
  }
  static int get(const Block& block, std::size_t i) {
    return block.qs[i / 64 * 32 + i % 32] >> (4 * (i / 32 % 2)) & 0xf;
  }
  static std::uint16_t scale(const Block& block, int) { return block.d; }
};

// d·1·(u - 32)
struct Q6_K {
  using Block = BlockQ6_K;
  static bool holds(int low, int high) { return low >= -32 && high <= 31; }
  static void begin(Block& block, std::uint16_t scale, int) {
    block.d = scale;
    block.scales.fill(1);
  }
  static int number(int code, int) { return code + 32; }
  static int code(int number, int) { return number - 32; }
  static std::size_t low_byte(std::size_t i) { return 64 * (i / 128) + 32 * (i / 32 % 2) + i % 32; }
  static std::size_t high_byte(std::size_t i) { return 32 * (i / 128) + i % 32; }
  static void put(Block& block, std::size_t i, int u) {
    block.ql[low_byte(i)] |= byte((u & 0xf) << (4 * (i / 64 % 2)));
    block.qh[high_byte(i)] |= byte(u >> 4 << (2 * (i / 32 % 4)));
  }
  static int get(const Block& block, std::size_t i) {
    return (block.ql[low_byte(i)] >> (4 * (i / 64 % 2)) & 0xf) |
           (block.qh[high_byte(i)] >> (2 * (i / 32 % 4)) & 3) << 4;
  }
  static std::uint16_t scale(const Block& block, int) { return block.d; }
};

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
