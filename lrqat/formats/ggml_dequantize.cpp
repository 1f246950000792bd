// Decoders, written after ggml-quants.c (dequantize_row_*). Each is a function of one block; the order of the
// float operations is ggml's, and contraction into fused multiply-adds is off, so results are equal bit for
// bit.
#include <cstring>
#include <utility>

#include "lrqat/base/error.h"
#include "lrqat/base/half.h"
#include "lrqat/formats/ggml_numbers.h"

namespace lrqat::formats {
namespace {

using numbers::scale_iq4_xs;
using numbers::scale_min_k4;
using numbers::scale_q3_k;

std::uint32_t low_nibble(std::uint8_t byte) { return byte & 0xfU; }
std::uint32_t high_nibble(std::uint8_t byte) { return byte >> 4; }

std::uint32_t load_u32(const std::array<std::uint8_t, 4>& bytes) {
  std::uint32_t word = 0;
  std::memcpy(&word, bytes.data(), sizeof word);
  return word;
}

void decode(const BlockQ4_0& block, float* out) {
  const float d = float16_to_float(block.d);
  for (std::size_t j = 0; j < 16; ++j) {
    out[j] = static_cast<float>(static_cast<int>(low_nibble(block.qs[j])) - 8) * d;
    out[j + 16] = static_cast<float>(static_cast<int>(high_nibble(block.qs[j])) - 8) * d;
  }
}

void decode(const BlockQ4_1& block, float* out) {
  const float d = float16_to_float(block.d);
  const float m = float16_to_float(block.m);
  for (std::size_t j = 0; j < 16; ++j) {
    out[j] = static_cast<float>(low_nibble(block.qs[j])) * d + m;
    out[j + 16] = static_cast<float>(high_nibble(block.qs[j])) * d + m;
  }
}

void decode(const BlockQ5_0& block, float* out) {
  const float d = float16_to_float(block.d);
  const std::uint32_t qh = load_u32(block.qh);
  for (std::size_t j = 0; j < 16; ++j) {
    const auto low = static_cast<int>(low_nibble(block.qs[j]) | ((qh >> j) & 1U) << 4);
    const auto high = static_cast<int>(high_nibble(block.qs[j]) | ((qh >> (j + 16)) & 1U) << 4);
    out[j] = static_cast<float>(low - 16) * d;
    out[j + 16] = static_cast<float>(high - 16) * d;
  }
}

void decode(const BlockQ5_1& block, float* out) {
  const float d = float16_to_float(block.d);
  const float m = float16_to_float(block.m);
  const std::uint32_t qh = load_u32(block.qh);
  for (std::size_t j = 0; j < 16; ++j) {
    out[j] = static_cast<float>(low_nibble(block.qs[j]) | ((qh >> j) & 1U) << 4) * d + m;
    out[j + 16] = static_cast<float>(high_nibble(block.qs[j]) | ((qh >> (j + 16)) & 1U) << 4) * d + m;
  }
}

void decode(const BlockQ8_0& block, float* out) {
  const float d = float16_to_float(block.d);
  for (std::size_t j = 0; j < 32; ++j) out[j] = static_cast<float>(block.qs[j]) * d;
}

void decode(const BlockQ2_0& block, float* out) {
  const float d = float16_to_float(block.d);
  for (std::size_t j = 0; j < 64; ++j) {
    const int q = (block.qs[j / 4] >> (2 * (j % 4))) & 3;
    out[j] = static_cast<float>(q - 1) * d;
  }
}

// Elements 128·half + 32·shift + l: byte 32·half + l of qs, bits 2·shift. 16 elements share a scale.
void decode(const BlockQ2_K& block, float* out) {
  const float d = float16_to_float(block.d);
  const float dmin = float16_to_float(block.dmin);
  for (std::size_t i = 0; i < 256; ++i) {
    const std::uint8_t scale = block.scales[i / 16];
    const float dl = d * static_cast<float>(low_nibble(scale));
    const float ml = dmin * static_cast<float>(high_nibble(scale));
    const int q = (block.qs[i / 128 * 32 + i % 32] >> (2 * (i / 32 % 4))) & 3;
    out[i] = dl * static_cast<float>(q) - ml;
  }
}

// Bit i/32 of hmask[i%32] set means that 4 is not subtracted.
void decode(const BlockQ3_K& block, float* out) {
  const float d = float16_to_float(block.d);
  for (std::size_t i = 0; i < 256; ++i) {
    const float dl = d * static_cast<float>(scale_q3_k(block.scales, i / 16));
    const int low = (block.qs[i / 128 * 32 + i % 32] >> (2 * (i / 32 % 4))) & 3;
    const int high = (block.hmask[i % 32] >> (i / 32)) & 1;
    out[i] = dl * static_cast<float>(low - (high != 0 ? 0 : 4));
  }
}

void decode(const BlockQ4_K& block, float* out) {
  const float d = float16_to_float(block.d);
  const float dmin = float16_to_float(block.dmin);
  for (std::size_t group = 0; group < 8; ++group) {
    const auto [scale, minimum] = scale_min_k4(block.scales, group);
    const float dl = d * static_cast<float>(scale);
    const float ml = dmin * static_cast<float>(minimum);
    for (std::size_t l = 0; l < 32; ++l) {
      const int q = (block.qs[group / 2 * 32 + l] >> (4 * (group % 2))) & 0xf;
      out[group * 32 + l] = dl * static_cast<float>(q) - ml;
    }
  }
}

void decode(const BlockQ5_K& block, float* out) {
  const float d = float16_to_float(block.d);
  const float dmin = float16_to_float(block.dmin);
  for (std::size_t group = 0; group < 8; ++group) {
    const auto [scale, minimum] = scale_min_k4(block.scales, group);
    const float dl = d * static_cast<float>(scale);
    const float ml = dmin * static_cast<float>(minimum);
    for (std::size_t l = 0; l < 32; ++l) {
      const int low = (block.qs[group / 2 * 32 + l] >> (4 * (group % 2))) & 0xf;
      const int high = (block.qh[l] >> group) & 1;
      out[group * 32 + l] = dl * static_cast<float>(low | high << 4) - ml;
    }
  }
}

// Elements 128·half + 32·quarter + l: nibble quarter/2 of ql[64·half + 32·(quarter%2) + l], bits 2·quarter of
// qh[32·half + l].
void decode(const BlockQ6_K& block, float* out) {
  const float d = float16_to_float(block.d);
  for (std::size_t i = 0; i < 256; ++i) {
    const std::size_t half = i / 128;
    const std::size_t quarter = i / 32 % 4;
    const std::size_t l = i % 32;
    const int low = (block.ql[64 * half + 32 * (quarter % 2) + l] >> (4 * (quarter / 2))) & 0xf;
    const int high = (block.qh[32 * half + l] >> (2 * quarter)) & 3;
    const float dl = d * static_cast<float>(block.scales[i / 16]);
    out[i] = dl * static_cast<float>((low | high << 4) - 32);
  }
}

// 32 elements: byte j holds elements j (low nibble) and j + 16 (high).
void decode_iq4(const std::uint8_t* qs, float d, float* out) {
  for (std::size_t j = 0; j < 16; ++j) {
    out[j] = d * static_cast<float>(kIq4Values[low_nibble(qs[j])]);
    out[j + 16] = d * static_cast<float>(kIq4Values[high_nibble(qs[j])]);
  }
}

void decode(const BlockIQ4_NL& block, float* out) {
  decode_iq4(block.qs.data(), float16_to_float(block.d), out);
}

void decode(const BlockIQ4_XS& block, float* out) {
  const float d = float16_to_float(block.d);
  for (std::size_t group = 0; group < 8; ++group) {
    const float dl = d * static_cast<float>(scale_iq4_xs(block, group));
    decode_iq4(block.qs.data() + 16 * group, dl, out + 32 * group);
  }
}

template <typename Block>
void decode_blocks(const std::byte* source, float* out, std::int64_t n, std::int64_t block_elements) {
  for (std::int64_t i = 0; i < n; i += block_elements, source += sizeof(Block)) {
    Block block;
    std::memcpy(&block, source, sizeof block);
    decode(block, out + i);
  }
}

template <typename Word, typename Convert>
void decode_words(const std::byte* source, float* out, std::int64_t n, Convert convert) {
  for (std::int64_t i = 0; i < n; ++i, source += sizeof(Word)) {
    Word word;
    std::memcpy(&word, source, sizeof word);
    out[i] = convert(word);
  }
}

}  // namespace

void dequantize_row(GgmlType type, const std::byte* source, float* out, std::int64_t n) {
  const std::int64_t block = ggml_type_info(type).block_elements;
  LRQAT_CHECK(n >= 0 && n % block == 0, n, " elements are not whole blocks of ", ggml_type_name(type));
  if (n == 0) return;
  switch (type) {
    case GgmlType::F32:
      std::memcpy(out, source, static_cast<std::size_t>(n) * sizeof(float));
      return;
    case GgmlType::F64:
      return decode_words<double>(source, out, n, [](double value) { return static_cast<float>(value); });
    case GgmlType::F16:
      return decode_words<std::uint16_t>(source, out, n, float16_to_float);
    case GgmlType::BF16:
      return decode_words<std::uint16_t>(source, out, n, bfloat16_to_float);
    case GgmlType::Q4_0:
      return decode_blocks<BlockQ4_0>(source, out, n, block);
    case GgmlType::Q4_1:
      return decode_blocks<BlockQ4_1>(source, out, n, block);
    case GgmlType::Q5_0:
      return decode_blocks<BlockQ5_0>(source, out, n, block);
    case GgmlType::Q5_1:
      return decode_blocks<BlockQ5_1>(source, out, n, block);
    case GgmlType::Q8_0:
      return decode_blocks<BlockQ8_0>(source, out, n, block);
    case GgmlType::Q2_0:
      return decode_blocks<BlockQ2_0>(source, out, n, block);
    case GgmlType::Q2_K:
      return decode_blocks<BlockQ2_K>(source, out, n, block);
    case GgmlType::Q3_K:
      return decode_blocks<BlockQ3_K>(source, out, n, block);
    case GgmlType::Q4_K:
      return decode_blocks<BlockQ4_K>(source, out, n, block);
    case GgmlType::Q5_K:
      return decode_blocks<BlockQ5_K>(source, out, n, block);
    case GgmlType::Q6_K:
      return decode_blocks<BlockQ6_K>(source, out, n, block);
    case GgmlType::IQ4_NL:
      return decode_blocks<BlockIQ4_NL>(source, out, n, block);
    case GgmlType::IQ4_XS:
      return decode_blocks<BlockIQ4_XS>(source, out, n, block);
    default:
      fail("ggml type ", ggml_type_name(type), " cannot be read as float here, known are ",
           known_ggml_types(), ": convert the model to one of these first");
  }
}

}  // namespace lrqat::formats
