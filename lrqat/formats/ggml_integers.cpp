#include "lrqat/formats/ggml_integers.h"

#include <array>
#include <cstring>

#include "lrqat/base/error.h"
#include "lrqat/formats/ggml_numbers.h"

namespace lrqat::formats {
namespace {

using namespace numbers;

struct Part {
  float scale;
  float offset = 0.0F;
};

// Scale and offset of group g, as ggml_dequantize.cpp has them.
template <typename Block>
Part part_of(const Block& block, std::size_t) {
  return {float16_to_float(block.d)};
}

Part part_of(const BlockQ4_1& block, std::size_t) {
  return {float16_to_float(block.d), float16_to_float(block.m)};
}

Part part_of(const BlockQ5_1& block, std::size_t) {
  return {float16_to_float(block.d), float16_to_float(block.m)};
}

Part part_of(const BlockQ2_K& block, std::size_t g) {
  return {float16_to_float(block.d) * static_cast<float>(block.scales[g] & 0xf),
          -(float16_to_float(block.dmin) * static_cast<float>(block.scales[g] >> 4))};
}

Part part_of(const BlockQ3_K& block, std::size_t g) {
  return {float16_to_float(block.d) * static_cast<float>(scale_q3_k(block.scales, g))};
}

template <typename Block>
Part part_of_k4(const Block& block, std::size_t g) {
  const auto [scale, minimum] = scale_min_k4(block.scales, g);
  return {float16_to_float(block.d) * static_cast<float>(scale),
          -(float16_to_float(block.dmin) * static_cast<float>(minimum))};
}

Part part_of(const BlockQ4_K& block, std::size_t g) { return part_of_k4(block, g); }
Part part_of(const BlockQ5_K& block, std::size_t g) { return part_of_k4(block, g); }

Part part_of(const BlockQ6_K& block, std::size_t g) {
  return {float16_to_float(block.d) * static_cast<float>(block.scales[g])};
}

Part part_of(const BlockIQ4_XS& block, std::size_t g) {
  return {float16_to_float(block.d) * static_cast<float>(scale_iq4_xs(block, g))};
}

// Numbers of Q8_0 are signed bytes; counted from -128 they are as those of the other types.
template <typename Format>
constexpr int kCountedFrom = 0;
template <>
constexpr int kCountedFrom<Q8_0> = -128;

template <typename Format>
void read_block(const std::byte* source, std::span<std::uint8_t> numbers, std::span<float> scales,
                std::span<float> offsets) {
  typename Format::Block block;
  std::memcpy(&block, source, sizeof block);
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    numbers[i] = byte(Format::get(block, i) - kCountedFrom<Format>);
  }
  for (std::size_t g = 0; g < scales.size(); ++g) {
    const Part part = part_of(block, g);
    scales[g] = part.scale;
    offsets[g] = part.offset;
  }
}

constexpr std::array kTypes = std::to_array<IntegerBlockType>({
    {GgmlType::Q2_0, 2, 64, 1, false, read_block<Q2_0>},
    {GgmlType::Q4_0, 4, 32, 8, false, read_block<Q4_0>},
    {GgmlType::Q4_1, 4, 32, 0, true, read_block<Q4_1>},
    {GgmlType::Q5_0, 5, 32, 16, false, read_block<Q5_0>},
    {GgmlType::Q5_1, 5, 32, 0, true, read_block<Q5_1>},
    {GgmlType::Q8_0, 8, 32, 128, false, read_block<Q8_0>},
    {GgmlType::Q2_K, 2, 16, 0, true, read_block<Q2_K>},
    {GgmlType::Q3_K, 3, 16, 4, false, read_block<Q3_K>},
    {GgmlType::Q4_K, 4, 32, 0, true, read_block<Q4_K>},
    {GgmlType::Q5_K, 5, 32, 0, true, read_block<Q5_K>},
    {GgmlType::Q6_K, 6, 16, 32, false, read_block<Q6_K>},
    {GgmlType::IQ4_NL, 8, 32, 128, false, read_block<IQ4_NL>},
    {GgmlType::IQ4_XS, 8, 32, 128, false, read_block<IQ4_XS>},
});

}  // namespace

const IntegerBlockType* find_integer_block_type(GgmlType type) {
  for (const IntegerBlockType& row : kTypes) {
    if (row.type == type) return &row;
  }
  return nullptr;
}

void read_integers(const IntegerBlockType& type, const std::byte* source, std::span<std::uint8_t> numbers,
                   std::span<float> scales, std::span<float> offsets) {
  const GgmlTypeInfo& info = ggml_type_info(type.type);
  const auto block = static_cast<std::size_t>(info.block_elements);
  const auto groups = static_cast<std::size_t>(info.block_elements / type.group_size);
  LRQAT_CHECK(numbers.size() % block == 0 && scales.size() == numbers.size() / block * groups &&
              offsets.size() == scales.size());
  for (std::size_t i = 0, g = 0; i < numbers.size(); i += block, g += groups, source += info.block_bytes) {
    type.read(source, numbers.subspan(i, block), scales.subspan(g, groups), offsets.subspan(g, groups));
  }
}

}  // namespace lrqat::formats
