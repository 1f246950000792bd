// Which block type holds a quantized linear, and its rows as blocks. K in_features.
#pragma once

#include <functional>
#include <span>
#include <string>

#include "lrqat/formats/ggml_codes.h"
#include "lrqat/quant/weight_parametrization.h"

namespace lrqat::exporting {

// Why the type named by --linear-type ("auto": every type) does not hold these integers exactly; empty: it
// does. UsageError where there is no such type. Scales count only where a type stores a product of them.
std::string block_obstacle(const quant::QuantizedWeight& weight, const std::string& linear_type);

// The type: the one named, or the one of fewest bits a weight that is exact. Only after block_obstacle.
const formats::CodeBlockType& choose_block_type(const quant::QuantizedWeight& weight,
                                                const std::string& linear_type);

// Where codes of fewer than 4 bits lie in a type that holds 4-bit codes as well: the smaller types that hold
// them, and what those ask for; else empty.
std::string smaller_types(const quant::QuantizedWeight& weight, const formats::CodeBlockType& chosen);

// Codes, scales and grids of a weight as the block codecs take them, row by row.
class BlockRows {
 public:
  explicit BlockRows(const quant::QuantizedWeight& weight);

  void encode(const formats::CodeBlockType& type, std::int64_t row, std::byte* out) const;
  // Whether these bytes are exactly this row.
  bool equals(const formats::CodeBlockType& type, std::int64_t row, const std::byte* data) const;
  std::int64_t rows() const { return codes_.size(0); }
  std::int64_t cols() const { return codes_.size(1); }

 private:
  std::span<const std::int8_t> codes(std::int64_t row) const;
  std::vector<std::uint16_t> scales(std::int64_t row) const;
  std::span<const int> lows(std::int64_t row) const;

  at::Tensor codes_;  // int8 [N, K], zero points taken off
  at::Tensor scale_;  // float32 [N or 1, G]
  at::Tensor lows_;   // int32, shaped like scale_: the smallest code of each scale's grid
};

}  // namespace lrqat::exporting
