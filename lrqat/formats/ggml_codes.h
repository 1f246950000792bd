// Block types as homes of trained integers: a row of codes whose values are scale·code goes into blocks, and
// comes back as the same codes and scales. One row a type; types with more freedom than one scale a block
// (K-quants, Q4_1) are written with the rest fixed so that ggml's formula gives exactly scale·code.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "lrqat/formats/ggml_types.h"

namespace lrqat::formats {

struct CodeBlockType {
  GgmlType type;
  // Whether a block has room for every code of [low, high].
  bool (*holds)(int low, int high);
  // Whether the offset that the block stores is exact for this float16 scale; nullptr: it always is.
  bool (*holds_scale)(std::uint16_t scale, int low);
  // One block of codes in [low, ...].
  void (*encode)(std::span<const std::int8_t> codes, std::uint16_t scale, int low, std::byte* out);
  // The way back; false: not a block that encode() makes.
  bool (*decode)(const std::byte* block, int low, std::span<std::int8_t> codes, std::uint16_t& scale);
};

std::span<const CodeBlockType> code_block_types();  // fewest bits a weight first
const CodeBlockType* find_code_block_type(GgmlType type);
std::string known_code_block_types();  // "q2_0, q2_k, …"

// A row of whole blocks. `scales` (float16 words) and `lows` (the smallest code of the grid) each stand for
// codes.size() / scales.size() consecutive codes, a multiple of the block.
void encode_codes(const CodeBlockType& type, std::span<const std::int8_t> codes,
                  std::span<const std::uint16_t> scales, std::span<const int> lows, std::byte* out);
// scales: one a block. False where a block is not what encode_codes makes.
bool decode_codes(const CodeBlockType& type, const std::byte* source, std::span<const int> lows,
                  std::span<std::int8_t> codes, std::span<std::uint16_t> scales);

}  // namespace lrqat::formats
