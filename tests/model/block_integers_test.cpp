// GGUF blocks of any content as integers: the values must be those of the dequantizer, bit for bit.
#include "lrqat/model/block_integers.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "lrqat/base/half.h"
#include "lrqat/base/random.h"
#include "lrqat/formats/ggml_blocks.h"
#include "lrqat/formats/ggml_integers.h"
#include "lrqat/quant/integer_weight.h"

namespace lrqat::model {
namespace {

using formats::GgmlType;

constexpr std::int64_t kRows = 5, kCols = 512;

// Random bytes are every block that can be; only float16 words that are not finite are another matter.
std::vector<std::byte> random_blocks(GgmlType type, std::uint64_t seed) {
  const std::size_t bytes = formats::ggml_row_bytes(type, kCols) * kRows;
  std::vector<std::byte> data(bytes);
  for (Random random(seed);;) {
    for (std::byte& byte : data) byte = static_cast<std::byte>(random.below(256));
    std::vector<float> values(kRows * kCols);
    formats::dequantize_row(type, data.data(), values.data(), kRows * kCols);
    bool finite = true;
    for (const float value : values) finite = finite && std::isfinite(value);
    if (finite) return data;
  }
}

at::Tensor dequantized(const formats::SourceTensor& raw) {
  at::Tensor values = at::empty({kRows, kCols}, at::kFloat);
  const std::size_t row_bytes = formats::ggml_row_bytes(raw.type, kCols);
  for (std::int64_t row = 0; row < kRows; ++row) {
    formats::dequantize_row(raw.type,
                            raw.data.data() + static_cast<std::size_t>(raw.source_row(row)) * row_bytes,
                            values.data_ptr<float>() + row * kCols, kCols);
  }
  return values;
}

void expect_same_values(const formats::SourceTensor& raw) {
  const quant::QuantizedWeight weight = integers_of(raw);
  EXPECT_TRUE(at::equal(quant::values_of(quant::IntegerWeight("w", weight)), dequantized(raw)))
      << formats::ggml_type_name(raw.type);
}

const std::vector<GgmlType> kTypes{GgmlType::Q2_0,  GgmlType::Q4_0, GgmlType::Q4_1, GgmlType::Q5_0,
                                   GgmlType::Q5_1,  GgmlType::Q8_0, GgmlType::Q2_K, GgmlType::Q3_K,
                                   GgmlType::Q4_K,  GgmlType::Q5_K, GgmlType::Q6_K, GgmlType::IQ4_NL,
                                   GgmlType::IQ4_XS};

TEST(BlockIntegers, GiveTheDequantizersValues) {
  for (const GgmlType type : kTypes) {
    SCOPED_TRACE(formats::ggml_type_name(type));
    // A block of each K-quant holds several float16 words, so few draws of many blocks are finite throughout.
    for (std::uint64_t seed = 0; seed < 3; ++seed) {
      const auto data = random_blocks(type, seed);
      expect_same_values({type, {kRows, kCols}, data, {}});
      expect_same_values({type, {kRows, kCols}, data, {4, 2, 0, 1, 3}});
    }
  }
}

TEST(BlockIntegers, AreThoseOfTheTableOfTypes) {
  for (const formats::GgmlTypeInfo& info : formats::ggml_types()) {
    const bool floats = info.type == GgmlType::F32 || info.type == GgmlType::F16 ||
                        info.type == GgmlType::F64 || info.type == GgmlType::BF16;
    EXPECT_EQ(formats::find_integer_block_type(info.type) != nullptr, info.can_dequantize && !floats)
        << info.name;
  }
}

std::vector<std::byte> bytes_of(const auto& block) {
  std::vector<std::byte> data(sizeof block);
  std::memcpy(data.data(), &block, sizeof block);
  return data;
}

quant::QuantizedWeight one_block(GgmlType type, const std::vector<std::byte>& data, std::int64_t cols) {
  return integers_of({type, {1, cols}, data, {}});
}

TEST(BlockIntegers, NegativeScalesStay) {
  formats::BlockQ4_0 block{float_to_float16(-0.5F), {}};
  block.qs.fill(0x80);  // numbers 0 and 8: values 4 and 0
  const auto read = one_block(GgmlType::Q4_0, bytes_of(block), 32);
  EXPECT_EQ(read.scale.item<float>(), -0.5F);
  EXPECT_FALSE(read.zero_point.defined()) << "so that the grid lies around zero";
  EXPECT_EQ(read.weight_int.amin().item<int>(), -8);
}

TEST(BlockIntegers, OffsetsThatAreMultiplesAreZeroPoints) {
  formats::BlockQ4_1 block{float_to_float16(0.25F), float_to_float16(-1.25F), {}};
  block.qs.fill(0xf0);
  const auto whole = one_block(GgmlType::Q4_1, bytes_of(block), 32);
  EXPECT_FALSE(whole.offset.defined());
  EXPECT_EQ(whole.zero_point.item<int>(), 5 - 8);
  block.m = float_to_float16(-1.2F);
  EXPECT_TRUE(one_block(GgmlType::Q4_1, bytes_of(block), 32).offset.defined());
}

}  // namespace
}  // namespace lrqat::model
