// ggml's block layouts (ggml-common.h), decoding to float bit-equal to ggml's dequantize_row_*, and encoding
// of integer codes straight into blocks: what was trained is what is stored, no second quantizer in between.
// All row pointers may be unaligned.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "lrqat/formats/ggml_types.h"

namespace lrqat::formats {

// d, m, dmin are float16 words. 32 elements a block: byte j of qs holds elements j (low nibble) and j + 16
// (high).
struct BlockQ4_0 {  // d·(q - 8)
  std::uint16_t d;
  std::array<std::uint8_t, 16> qs;
};
static_assert(sizeof(BlockQ4_0) == 18);

struct BlockQ4_1 {  // d·q + m
  std::uint16_t d;
  std::uint16_t m;
  std::array<std::uint8_t, 16> qs;
};
static_assert(sizeof(BlockQ4_1) == 20);

struct BlockQ5_0 {  // d·(q - 16); bit j of qh is the fifth bit of element j
  std::uint16_t d;
  std::array<std::uint8_t, 4> qh;
  std::array<std::uint8_t, 16> qs;
};
static_assert(sizeof(BlockQ5_0) == 22);

struct BlockQ5_1 {  // d·q + m
  std::uint16_t d;
  std::uint16_t m;
  std::array<std::uint8_t, 4> qh;
  std::array<std::uint8_t, 16> qs;
};
static_assert(sizeof(BlockQ5_1) == 24);

struct BlockQ8_0 {  // d·q
  std::uint16_t d;
  std::array<std::int8_t, 32> qs;
};
static_assert(sizeof(BlockQ8_0) == 34);

struct BlockIQ4_NL {  // d·kIq4Values[q]; llama-quantize's choice for rows that are no whole K-quant blocks
  std::uint16_t d;
  std::array<std::uint8_t, 16> qs;
};
static_assert(sizeof(BlockIQ4_NL) == 18);

// The values that the four bits of IQ4_NL and IQ4_XS stand for.
inline constexpr std::array<std::int8_t, 16> kIq4Values{-127, -104, -83, -65, -49, -35, -22, -10,
                                                        1,    13,   25,  38,  53,  69,  89,  113};

struct BlockQ2_0 {  // 64 elements, d·(q - 1); element j in byte j/4, bits 2(j%4)
  std::uint16_t d;
  std::array<std::uint8_t, 16> qs;
};
static_assert(sizeof(BlockQ2_0) == 18);

// 256 elements a block from here on.
struct BlockQ2_K {  // d·sc·q - dmin·m, one (sc, m) pair of nibbles per 16 elements
  std::array<std::uint8_t, 16> scales;
  std::array<std::uint8_t, 64> qs;
  std::uint16_t d;
  std::uint16_t dmin;
};
static_assert(sizeof(BlockQ2_K) == 84);

struct BlockQ3_K {  // d·(sc - 32)·q, q in -4..3
  std::array<std::uint8_t, 32> hmask;
  std::array<std::uint8_t, 64> qs;
  std::array<std::uint8_t, 12> scales;
  std::uint16_t d;
};
static_assert(sizeof(BlockQ3_K) == 110);

struct BlockQ4_K {  // d·sc·q - dmin·m, eight 6-bit (sc, m) pairs in 12 bytes
  std::uint16_t d;
  std::uint16_t dmin;
  std::array<std::uint8_t, 12> scales;
  std::array<std::uint8_t, 128> qs;
};
static_assert(sizeof(BlockQ4_K) == 144);

struct BlockQ5_K {
  std::uint16_t d;
  std::uint16_t dmin;
  std::array<std::uint8_t, 12> scales;
  std::array<std::uint8_t, 32> qh;
  std::array<std::uint8_t, 128> qs;
};
static_assert(sizeof(BlockQ5_K) == 176);

struct BlockQ6_K {  // d·sc·(q - 32)
  std::array<std::uint8_t, 128> ql;
  std::array<std::uint8_t, 64> qh;
  std::array<std::int8_t, 16> scales;
  std::uint16_t d;
};
static_assert(sizeof(BlockQ6_K) == 210);

struct BlockIQ4_XS {  // d·(sc - 32)·kIq4Values[q], eight 6-bit sc; each 32 elements packed as those of IQ4_NL
  std::uint16_t d;
  std::uint16_t scales_h;
  std::array<std::uint8_t, 4> scales_l;
  std::array<std::uint8_t, 128> qs;
};
static_assert(sizeof(BlockIQ4_XS) == 136);

// n elements (a multiple of the block) from `source` into `out`. Error for types without a decoder, with the
// list of those that have one.
void dequantize_row(GgmlType type, const std::byte* source, float* out, std::int64_t n);

// The way in for trained integers. `codes` is a row (or any run of whole blocks); `scales` are float16 words,
// each for codes.size() / scales.size() consecutive codes, which must be a multiple of the block's elements
// (one scale: per channel; more: groups). `out` takes ggml_row_bytes(type, codes.size()) bytes. A code
// outside the range is a bug of the caller (LRQAT_CHECK).
void encode_q4_0(std::span<const std::int8_t> codes, std::span<const std::uint16_t> scales,
                 std::byte* out);  // -8..7
void encode_q8_0(std::span<const std::int8_t> codes, std::span<const std::uint16_t> scales,
                 std::byte* out);  // int8

// The way back: every code, and one float16 word a block.
void decode_q4_0(const std::byte* source, std::span<std::int8_t> codes,
                 std::span<std::uint16_t> block_scales);
void decode_q8_0(const std::byte* source, std::span<std::int8_t> codes,
                 std::span<std::uint16_t> block_scales);

// Plain quantization of tensors that were not trained (embeddings): ggml's quantize_row_q8_0_ref, d = max|x|
// / 127, rounding half away from zero.
void quantize_row_q8_0(std::span<const float> values, std::byte* out);
// The same for Q6_K, whose scales are searched for the least squared error (ggml has no fixed rule for it).
void quantize_row_q6_k(std::span<const float> values, std::byte* out);

// Float storage: F32, F16 or BF16 (rounding half to even), as ggml stores them.
void encode_float_row(GgmlType type, std::span<const float> values, std::byte* out);

}  // namespace lrqat::formats
