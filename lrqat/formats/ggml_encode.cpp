#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "lrqat/base/error.h"
#include "lrqat/base/half.h"
#include "lrqat/formats/ggml_blocks.h"

namespace lrqat::formats {
namespace {

constexpr std::size_t kBlock = 32;
constexpr float kMaxFloat16 = 65504.0F;
constexpr float kFloat16Overflow = 65520.0F;  // rounds to infinity from here
constexpr float kMinNormal = std::numeric_limits<float>::min();

// Calls make(block codes, scale word) for each block of 32 codes and stores what it returns.
template <typename MakeBlock>
void encode_blocks(std::span<const std::int8_t> codes, std::span<const std::uint16_t> scales, std::byte* out,
                   MakeBlock make) {
  if (codes.empty()) return;
  LRQAT_CHECK(!scales.empty() && codes.size() % scales.size() == 0, codes.size(), " codes for ",
              scales.size(), " scales");
  const std::size_t codes_per_scale = codes.size() / scales.size();
  LRQAT_CHECK(codes_per_scale % kBlock == 0, codes_per_scale, " codes a scale are not whole blocks of ",
              kBlock);
  for (std::size_t i = 0; i < codes.size(); i += kBlock) {
    const auto block = make(codes.subspan(i, kBlock), scales[i / codes_per_scale]);
    std::memcpy(out, &block, sizeof block);
    out += sizeof block;
  }
}

template <typename Block, typename Take>
void decode_blocks(const std::byte* source, std::span<std::int8_t> codes, std::span<std::uint16_t> scales,
                   Take take) {
  LRQAT_CHECK(codes.size() == scales.size() * kBlock, codes.size(), " codes for ", scales.size(),
              " block scales");
  for (std::size_t b = 0; b < scales.size(); ++b, source += sizeof(Block)) {
    Block block;
    std::memcpy(&block, source, sizeof block);
    scales[b] = block.d;
    take(block, codes.subspan(b * kBlock, kBlock));
  }
}

}  // namespace

void encode_q4_0(std::span<const std::int8_t> codes, std::span<const std::uint16_t> scales, std::byte* out) {
  encode_blocks(codes, scales, out, [](std::span<const std::int8_t> block_codes, std::uint16_t scale) {
    for (const std::int8_t code : block_codes) {
      LRQAT_CHECK(code >= -8 && code <= 7, "code ", static_cast<int>(code), " is not 4 bits wide");
    }
    BlockQ4_0 block{scale, {}};
    for (std::size_t j = 0; j < kBlock / 2; ++j) {
      block.qs[j] = static_cast<std::uint8_t>((block_codes[j] + 8) | (block_codes[j + kBlock / 2] + 8) << 4);
    }
    return block;
  });
}

void encode_q8_0(std::span<const std::int8_t> codes, std::span<const std::uint16_t> scales, std::byte* out) {
  encode_blocks(codes, scales, out, [](std::span<const std::int8_t> block_codes, std::uint16_t scale) {
    BlockQ8_0 block{scale, {}};
    std::copy(block_codes.begin(), block_codes.end(), block.qs.begin());
    return block;
  });
}

void decode_q4_0(const std::byte* source, std::span<std::int8_t> codes,
                 std::span<std::uint16_t> block_scales) {
  decode_blocks<BlockQ4_0>(source, codes, block_scales,
                           [](const BlockQ4_0& block, std::span<std::int8_t> out) {
                             for (std::size_t j = 0; j < kBlock / 2; ++j) {
                               out[j] = static_cast<std::int8_t>((block.qs[j] & 0xf) - 8);
                               out[j + kBlock / 2] = static_cast<std::int8_t>((block.qs[j] >> 4) - 8);
                             }
                           });
}

void decode_q8_0(const std::byte* source, std::span<std::int8_t> codes,
                 std::span<std::uint16_t> block_scales) {
  decode_blocks<BlockQ8_0>(source, codes, block_scales,
                           [](const BlockQ8_0& block, std::span<std::int8_t> out) {
                             std::copy(block.qs.begin(), block.qs.end(), out.begin());
                           });
}

void quantize_row_q8_0(std::span<const float> values, std::byte* out) {
  LRQAT_CHECK(values.size() % kBlock == 0, values.size(), " values are not whole blocks of ", kBlock);
  for (std::size_t i = 0; i < values.size(); i += kBlock) {
    const auto part = values.subspan(i, kBlock);
    float amax = 0.0F;
    for (const float value : part) {
      if (!std::isfinite(value))
        fail("cannot quantize to Q8_0: a value is ", value, ", expected finite numbers");
      amax = std::max(amax, std::fabs(value));
    }
    const float d = amax / 127.0F;
    if (d > kMaxFloat16) fail("cannot quantize to Q8_0: |value| ", amax, " is too large for a float16 scale");
    const float inverse = d >= kMinNormal ? 1.0F / d : 0.0F;  // below it the stored float16 scale is 0 anyway
    BlockQ8_0 block{float_to_float16(d), {}};
    for (std::size_t j = 0; j < kBlock; ++j)
      block.qs[j] = static_cast<std::int8_t>(std::round(part[j] * inverse));
    std::memcpy(out, &block, sizeof block);
    out += sizeof block;
  }
}

void encode_float_row(GgmlType type, std::span<const float> values, std::byte* out) {
  if (values.empty()) return;
  if (type == GgmlType::F32) {
    std::memcpy(out, values.data(), values.size_bytes());
    return;
  }
  LRQAT_CHECK(type == GgmlType::F16 || type == GgmlType::BF16, ggml_type_name(type), " is not a float type");
  for (const float value : values) {
    if (type == GgmlType::F16 && std::isfinite(value) && std::fabs(value) >= kFloat16Overflow) {
      fail("cannot store ", value, " as F16: it is beyond ", kMaxFloat16, "; choose BF16 or F32");
    }
    const std::uint16_t word = type == GgmlType::F16 ? float_to_float16(value) : float_to_bfloat16(value);
    std::memcpy(out, &word, sizeof word);
    out += sizeof word;
  }
}

}  // namespace lrqat::formats
