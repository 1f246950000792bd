// ggml_blocks*.safetensors hold blocks of random bytes and what the gguf package makes of them.
#include "lrqat/formats/ggml_blocks.h"

#include <gtest/gtest.h>

#include <cmath>

#include "lrqat/base/half.h"
#include "lrqat/base/random.h"
#include "lrqat/formats/safetensors.h"
#include "test_files.h"

namespace lrqat::formats {
namespace {

std::vector<float> floats(const TensorView& tensor) {
  std::vector<float> values(tensor.data.size() / sizeof(float));
  std::memcpy(values.data(), tensor.data.data(), tensor.data.size());
  return values;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

class DequantizeRow : public testing::TestWithParam<GgmlType> {};

TEST_P(DequantizeRow, EqualsTheGgufPackageBitForBit) {
  const std::string name(ggml_type_name(GetParam()));
  const SafetensorsFile file(
      fixture(name.starts_with("IQ4") ? "ggml_blocks_iq4.safetensors" : "ggml_blocks.safetensors"));
  const TensorView& blocks = file.at(name + ".blocks");
  const auto expected = floats(file.at(name + ".values"));
  ASSERT_EQ(blocks.data.size(), ggml_row_bytes(GetParam(), static_cast<std::int64_t>(expected.size())));
  std::vector<float> values(expected.size());
  dequantize_row(GetParam(), blocks.data.data(), values.data(), static_cast<std::int64_t>(values.size()));
  EXPECT_TRUE(same_bits(values, expected));

  // Negative control and unaligned source at once: one flipped bit in the middle is seen, from an odd
  // address.
  std::vector<std::byte> shifted(blocks.data.size() + 1);
  std::copy(blocks.data.begin(), blocks.data.end(), shifted.begin() + 1);
  dequantize_row(GetParam(), shifted.data() + 1, values.data(), static_cast<std::int64_t>(values.size()));
  EXPECT_TRUE(same_bits(values, expected));
  shifted[shifted.size() / 2] ^= std::byte{1};
  dequantize_row(GetParam(), shifted.data() + 1, values.data(), static_cast<std::int64_t>(values.size()));
  EXPECT_FALSE(same_bits(values, expected));
}

INSTANTIATE_TEST_SUITE_P(Types, DequantizeRow,
                         testing::Values(GgmlType::F16, GgmlType::BF16, GgmlType::Q4_0, GgmlType::Q4_1,
                                         GgmlType::Q5_0, GgmlType::Q5_1, GgmlType::Q8_0, GgmlType::Q2_K,
                                         GgmlType::Q3_K, GgmlType::Q4_K, GgmlType::Q5_K, GgmlType::Q6_K,
                                         GgmlType::IQ4_NL, GgmlType::IQ4_XS),
                         [](const auto& info) { return std::string(ggml_type_name(info.param)); });

TEST(DequantizeRowPlain, Float32AndFloat64AreCopied) {
  const std::vector<float> values{1.5F, -0.0F, 3e-45F};
  std::vector<float> out(3);
  dequantize_row(GgmlType::F32, reinterpret_cast<const std::byte*>(values.data()), out.data(), 3);
  EXPECT_TRUE(same_bits(values, out));
  const std::vector<double> wide{0.1, -2.0};
  dequantize_row(GgmlType::F64, reinterpret_cast<const std::byte*>(wide.data()), out.data(), 2);
  EXPECT_EQ(out[0], 0.1F);
  EXPECT_EQ(out[1], -2.0F);
}

// Q2_0 is newer than the gguf package: checked against its definition, d·(q - 1), two bits from the low end.
TEST(DequantizeRowPlain, Q2_0FollowsItsDefinition) {
  BlockQ2_0 block{float_to_float16(0.5F), {}};
  for (std::size_t j = 0; j < 64; ++j) {
    block.qs[j / 4] = static_cast<std::uint8_t>(block.qs[j / 4] | ((j * 7 / 3) % 4) << (2 * (j % 4)));
  }
  std::vector<float> values(64);
  dequantize_row(GgmlType::Q2_0, reinterpret_cast<const std::byte*>(&block), values.data(), 64);
  for (std::size_t j = 0; j < 64; ++j) {
    EXPECT_EQ(values[j], 0.5F * (static_cast<float>((j * 7 / 3) % 4) - 1.0F)) << j;
  }
}

TEST(DequantizeRowPlain, UnknownTypeNamesTheKnownOnes) {
  std::vector<std::byte> block(66);
  std::vector<float> values(256);
  expect_error([&] { dequantize_row(GgmlType::IQ2_XXS, block.data(), values.data(), 256); },
               {"IQ2_XXS", "known are F32, F16, Q4_0"});
}

// Every flagged type decodes and no other does, so the table and the decoders cannot part.
TEST(GgmlTypes, FlagsTellTheTruth) {
  for (const GgmlTypeInfo& info : ggml_types()) {
    std::vector<std::byte> block(info.block_bytes);
    std::vector<float> values(static_cast<std::size_t>(info.block_elements));
    const auto decode = [&] { dequantize_row(info.type, block.data(), values.data(), info.block_elements); };
    if (info.can_dequantize) {
      EXPECT_NO_THROW(decode()) << info.name;
    } else {
      EXPECT_THROW(decode(), Error) << info.name;
    }
    EXPECT_EQ(find_ggml_type(info.name), &info);
    EXPECT_EQ(&ggml_type_info(info.type), &info);
  }
  EXPECT_EQ(find_ggml_type(4), nullptr);  // Q4_2, removed from ggml
  EXPECT_EQ(bits_per_weight(GgmlType::Q4_0), 4.5);
  EXPECT_EQ(bits_per_weight(GgmlType::Q8_0), 8.5);
  EXPECT_EQ(bits_per_weight(GgmlType::Q2_0), 2.25);
}

std::vector<std::int8_t> random_codes(std::size_t count, int low, int high) {
  Random random(7);
  std::vector<std::int8_t> codes(count);
  for (auto& code : codes) {
    code = static_cast<std::int8_t>(
        low + static_cast<int>(random.below(static_cast<std::uint64_t>(high - low + 1))));
  }
  codes[0] = static_cast<std::int8_t>(low);
  codes[1] = static_cast<std::int8_t>(high);
  return codes;
}

// Trained integers come back as they went in, and decode to exactly scale · code for any float16 scale.
template <typename Encode, typename Decode>
void check_codes(GgmlType type, int low, int high, Encode encode, Decode decode) {
  constexpr std::size_t kRow = 256;
  const auto codes = random_codes(kRow, low, high);
  for (const std::size_t scale_count : {std::size_t{1}, std::size_t{4}, std::size_t{8}}) {
    std::vector<std::uint16_t> scales;
    for (std::size_t i = 0; i < scale_count; ++i)
      scales.push_back(float_to_float16(0.0173F * (1.0F + 3.7F * i)));
    std::vector<std::byte> row(ggml_row_bytes(type, kRow));
    encode(codes, scales, row.data());
    std::vector<std::int8_t> codes_back(kRow);
    std::vector<std::uint16_t> scales_back(kRow / 32);
    decode(row.data(), codes_back, scales_back);
    EXPECT_EQ(codes_back, codes);
    std::vector<float> values(kRow);
    dequantize_row(type, row.data(), values.data(), kRow);
    for (std::size_t i = 0; i < kRow; ++i) {
      const std::uint16_t scale = scales[i / (kRow / scale_count)];
      EXPECT_EQ(scales_back[i / 32], scale);
      EXPECT_EQ(values[i], float16_to_float(scale) * static_cast<float>(codes[i])) << i;
    }
  }
}

TEST(EncodeCodes, Q4_0) { check_codes(GgmlType::Q4_0, -8, 7, encode_q4_0, decode_q4_0); }
TEST(EncodeCodes, Q8_0) { check_codes(GgmlType::Q8_0, -128, 127, encode_q8_0, decode_q8_0); }

TEST(EncodeCodes, BadInputIsCaught) {
  std::vector<std::int8_t> codes(64);
  std::vector<std::byte> row(256);
  const std::vector<std::uint16_t> one{0x3c00};
  const std::vector<std::uint16_t> four{1, 2, 3, 4};
  EXPECT_NO_THROW(encode_q4_0(codes, one, row.data()));
  EXPECT_THROW(encode_q4_0(codes, four, row.data()), InternalError);  // 16 codes a scale: not whole blocks
  codes[40] = 8;
  EXPECT_THROW(encode_q4_0(codes, one, row.data()), InternalError);
  codes[40] = -9;
  EXPECT_THROW(encode_q4_0(codes, one, row.data()), InternalError);
}

TEST(QuantizeRowQ8_0, EqualsTheGgufPackage) {
  const SafetensorsFile file(fixture("ggml_blocks.safetensors"));
  const auto values = floats(file.at("quantize_q8_0.values"));
  const auto expected = file.at("quantize_q8_0.blocks").data;
  std::vector<std::byte> blocks(expected.size());
  quantize_row_q8_0(values, blocks.data());
  EXPECT_TRUE(std::equal(blocks.begin(), blocks.end(), expected.begin(), expected.end()));
}

TEST(QuantizeRowQ8_0, RefusesWhatItCannotHold) {
  std::vector<float> values(32, 1.0F);
  std::vector<std::byte> block(34);
  values[3] = NAN;
  expect_error([&] { quantize_row_q8_0(values, block.data()); }, {"Q8_0", "finite"});
  values[3] = 1e8F;
  expect_error([&] { quantize_row_q8_0(values, block.data()); }, {"too large"});
  values.assign(32, 1e-42F);  // 1/d would overflow
  EXPECT_NO_THROW(quantize_row_q8_0(values, block.data()));
}

TEST(EncodeFloatRow, RoundTripsAndRefusesOverflow) {
  const std::vector<float> values{1.0F, -0.333F, 65519.0F, 1e-8F};
  for (const GgmlType type : {GgmlType::F32, GgmlType::F16, GgmlType::BF16}) {
    std::vector<std::byte> row(ggml_row_bytes(type, 4));
    encode_float_row(type, values, row.data());
    std::vector<float> back(4);
    dequantize_row(type, row.data(), back.data(), 4);
    for (std::size_t i = 0; i < 4; ++i) {
      const float expected = type == GgmlType::F32   ? values[i]
                             : type == GgmlType::F16 ? float16_to_float(float_to_float16(values[i]))
                                                     : bfloat16_to_float(float_to_bfloat16(values[i]));
      EXPECT_EQ(back[i], expected);
    }
  }
  std::vector<std::byte> row(8);
  expect_error([&] { encode_float_row(GgmlType::F16, std::vector<float>{65520.0F}, row.data()); },
               {"F16", "BF16 or F32"});
}

TEST(Quantize, Q6KIsNearAndKeepsItsOwnValues) {
  Random random(8);
  std::vector<float> values(2 * 256);
  for (float& value : values) value = static_cast<float>(random.uniform() - 0.5);
  std::fill(values.begin() + 256, values.begin() + 272, 0.0F);  // a group of zeros
  std::vector<std::byte> blocks(ggml_row_bytes(GgmlType::Q6_K, 512));
  std::vector<float> decoded(values.size()), again(values.size());
  quantize_row_q6_k(values, blocks.data());
  dequantize_row(GgmlType::Q6_K, blocks.data(), decoded.data(), 512);
  for (std::size_t i = 0; i < values.size(); ++i) {
    // half a step of the coarsest grid, 28 steps to the largest of a group, and as much again for the
    // rounding of the group's scale and for clipping
    EXPECT_NEAR(decoded[i], values[i], 0.5 / 28) << i;
  }
  EXPECT_EQ(decoded[260], 0.0F);
  quantize_row_q6_k(decoded, blocks.data());
  dequantize_row(GgmlType::Q6_K, blocks.data(), again.data(), 512);
  double error = 0, first = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    error += std::fabs(again[i] - decoded[i]);
    first += std::fabs(decoded[i] - values[i]);
  }
  EXPECT_LT(error, first) << "what lies on such a grid is found again, or nearly";
  std::vector<float> zeros(256);
  quantize_row_q6_k(zeros, blocks.data());
  dequantize_row(GgmlType::Q6_K, blocks.data(), decoded.data(), 256);
  EXPECT_EQ(decoded[0], 0.0F);
  values[3] = std::numeric_limits<float>::infinity();
  EXPECT_THROW(quantize_row_q6_k(values, blocks.data()), Error);
}

}  // namespace
}  // namespace lrqat::formats
