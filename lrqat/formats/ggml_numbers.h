// How each block type packs its numbers: element i of a block as a number of so many bits, the way in and
// out, and what is fixed around the numbers where a block has one scale alone. Element orders are those of
// ggml-quants.c. What ggml_codes.cpp and ggml_integers.cpp share.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>

#include "lrqat/base/half.h"
#include "lrqat/formats/ggml_blocks.h"

namespace lrqat::formats::numbers {

inline std::uint8_t byte(int value) { return static_cast<std::uint8_t>(value); }

inline constexpr std::uint16_t kSignBit = 0x8000;

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

// d·(u - 1) has -1..2; -2..1 are the same with d = -scale and the codes negated.
struct Q2_0 {
  using Block = BlockQ2_0;
  static bool is_negated(int low) { return low < -1; }
  static bool holds(int low, int high) { return (low >= -2 && high <= 1) || (low >= -1 && high <= 2); }
  static void begin(Block& block, std::uint16_t scale, int low) {
    block.d = is_negated(low) ? scale ^ kSignBit : scale;
  }
  static int number(int code, int low) { return is_negated(low) ? 1 - code : code + 1; }
  static int code(int number, int low) { return is_negated(low) ? 1 - number : number - 1; }
  static void put(Block& block, std::size_t i, int u) { block.qs[i / 4] |= byte(u << (2 * (i % 4))); }
  static int get(const Block& block, std::size_t i) { return block.qs[i / 4] >> (2 * (i % 4)) & 3; }
  static std::uint16_t scale(const Block& block, int low) {
    return is_negated(low) ? block.d ^ kSignBit : block.d;
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

// Q5_1 and Q5_K are read only.
struct Q5_1 {
  using Block = BlockQ5_1;
  static int get(const Block& block, std::size_t i) {
    return (block.qs[i % 16] >> (4 * (i / 16)) & 0xf) | (block.qh[i / 8] >> (i % 8) & 1) << 4;
  }
};

struct Q5_K {
  using Block = BlockQ5_K;
  static int get(const Block& block, std::size_t i) {
    return (block.qs[i / 64 * 32 + i % 32] >> (4 * (i / 32 % 2)) & 0xf) | (block.qh[i % 32] >> (i / 32) & 1)
                                                                              << 4;
  }
};

// The number of an element is its value counted from -128, eight bits; read only.
struct IQ4_NL {
  using Block = BlockIQ4_NL;
  static int get(const Block& block, std::size_t i) {
    return kIq4Values[block.qs[i % 16] >> (4 * (i / 16)) & 0xf] + 128;
  }
};

struct IQ4_XS {
  using Block = BlockIQ4_XS;
  static int get(const Block& block, std::size_t i) {
    return kIq4Values[block.qs[i / 32 * 16 + i % 16] >> (4 * (i / 16 % 2)) & 0xf] + 128;
  }
};

// ---- scales of the second level

inline int scale_iq4_xs(const BlockIQ4_XS& block, std::size_t g) {
  const int low = block.scales_l[g / 2] >> (4 * (g % 2)) & 0xf;
  return (low | (block.scales_h >> (2 * g) & 3) << 4) - 32;
}

// Scale i of Q3_K: low four bits in nibble i/8 of byte i%8, high two in bits 2·(i/4) of byte 8 + i%4.
inline int scale_q3_k(const std::array<std::uint8_t, 12>& scales, std::size_t i) {
  const int low = (scales[i % 8] >> (4 * (i / 8))) & 0xf;
  const int high = (scales[8 + i % 4] >> (2 * (i / 4))) & 3;
  return (low | high << 4) - 32;
}

// Six-bit scale and minimum j of Q4_K and Q5_K (get_scale_min_k4).
inline std::pair<int, int> scale_min_k4(const std::array<std::uint8_t, 12>& scales, std::size_t j) {
  if (j < 4) return {scales[j] & 63, scales[j + 4] & 63};
  return {(scales[j + 4] & 0xf) | (scales[j - 4] >> 6) << 4, (scales[j + 4] >> 4) | (scales[j] >> 6) << 4};
}

}  // namespace lrqat::formats::numbers
