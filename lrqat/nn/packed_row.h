// Several token sequences in one row without padding, for evaluation: each is a segment that sees itself (as
// its mask says) and a prefix that all share, whose keys and values lie in a cache. T tokens of the row,
// L of a segment, P of the prefix.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace lrqat::nn {

struct PackedSegment {
  std::int64_t begin = 0;  // first token in the row
  std::int64_t length = 0;
  // [L, P + L] bool, true where a query may see a key. Undefined: causal.
  at::Tensor mask;
};

struct PackedRow {
  at::Tensor positions;           // [T] int64, of every token in its own sequence; on the model's device
  std::int64_t end_position = 0;  // above all positions
  std::vector<PackedSegment> segments;  // one after the other, covering the row
};

}  // namespace lrqat::nn
