// How many bits the linears of a model have, and what they take in the file that a recipe is for.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lrqat/train/layer_grid.h"

namespace lrqat::train {

// Linears of the same width and granularity.
struct BitRow {
  int bits = 0;
  quant::Granularity granularity;
  std::int64_t linears = 0;
  std::int64_t weights = 0;
  std::int64_t stored_bits = 0;  // in the file: codes, scales and zero points
};

struct BitTable {
  std::vector<BitRow> rows;  // fewest bits first

  std::int64_t weights() const;
  std::int64_t stored_bits() const;
  double bits_per_weight() const;  // 0 where there are no linears
  // Lines: a heading, then a row each.
  std::vector<std::string> lines(const std::string& target) const;
};

// Of linears that have a granularity. Those that the target does not hold count as codes with their scales.
BitTable bit_table(const Target& target, const Layers& layers);

}  // namespace lrqat::train
