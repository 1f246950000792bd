// Which entries of a weight are clipped, and their part of the gradients (docs/method.md section 5): the list
// is tensors of the weight's device, the arithmetic on it is for the CPU. T tokens, N out_features, K
// in_features, R rank, E entries.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <limits>

namespace lrqat::ops {

// In lists by blocks of columns; within a list rows ascend.
struct ClippedEntries {
  std::int64_t most = std::numeric_limits<std::int64_t>::max();  // that are wanted
  bool complete = true;    // false: there are more than `most`, or nobody looked, and there are no lists
  at::Tensor entries{};    // int32 [E, 2]: row and column, list by list; undefined: none
  at::Tensor list_ends{};  // int64, on the host: of each list, where it ends in `entries`

  std::int64_t count() const { return entries.defined() ? entries.size(0) : 0; }
};

// g = Σ_t dy[t,n] x[t,k] of every clipped entry, float32 [E], from columns_operand of both.
at::Tensor clipped_gradients(const ClippedEntries& clipped, const at::Tensor& grad_columns,
                             const at::Tensor& x_columns);

// g <- g · s, s [N, G] float32.
void scale_entries(const ClippedEntries& clipped, const at::Tensor& scale, std::int64_t in_features,
                   at::Tensor g);

// Σ over the clipped entries of g·B[:,k] for every row n, and of g·A[n,:] for every column k: what the
// low-rank gradient must be reduced by. a [N, R], b_columns [K, R].
struct ClippedPart {
  at::Tensor of_a;          // [N, R]
  at::Tensor of_b_columns;  // [K, R]
};
ClippedPart clipped_part(const ClippedEntries& clipped, const at::Tensor& g, const at::Tensor& a,
                         const at::Tensor& b_columns);

}  // namespace lrqat::ops
