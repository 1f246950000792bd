// What the row-wise arithmetic of a softmax loss on logits (backend.h) works with, a tile of columns at a
// time. T tokens, V vocab_size.
#pragma once

#include <ATen/core/Tensor.h>

namespace lrqat::ops {

// log Σ exp of rows.
class RowLogSumExp {
 public:
  virtual ~RowLogSumExp() = default;
  virtual void add(const at::Tensor& tile) = 0;                   // float32 [T, columns]
  virtual at::Tensor result(const at::Tensor& logits) const = 0;  // float32 [T]; logits [T, V]: all tiles
};

// What a Kullback-Leibler divergence from a teacher adds: its logits of the same tile, its log Σ exp [T], and
// the share of the loss.
struct TeacherRows {
  at::Tensor logits;
  at::Tensor lse;
  double weight;
};

}  // namespace lrqat::ops
