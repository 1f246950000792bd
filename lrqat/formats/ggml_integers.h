// GGUF blocks as what they are: integers, a scale for a few of them, and in some types an offset. Nothing is
// rounded: value = scale · (number - zero), or scale · number + offset, in float32, is what dequantize_row
// gives, bit for bit. The way in for models of other programs, as ggml_codes.h is the way out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "lrqat/formats/ggml_types.h"

namespace lrqat::formats {

struct IntegerBlockType {
  GgmlType type;
  int num_bits;             // numbers are 0 to 2^num_bits - 1; 8 for IQ4_*, whose 16 values are no even grid
  std::int64_t group_size;  // numbers that share a scale; a block is one or several groups
  int zero;                 // the number whose value is 0, where there are no offsets
  bool has_offset;
  // One block: its numbers, and a scale and an offset (0 where there are none) for each group.
  void (*read)(const std::byte* block, std::span<std::uint8_t> numbers, std::span<float> scales,
               std::span<float> offsets);
};

const IntegerBlockType* find_integer_block_type(GgmlType type);  // nullptr: floats, or not readable here

// A run of whole blocks. scales and offsets: one a group.
void read_integers(const IntegerBlockType& type, const std::byte* source, std::span<std::uint8_t> numbers,
                   std::span<float> scales, std::span<float> offsets);

}  // namespace lrqat::formats
