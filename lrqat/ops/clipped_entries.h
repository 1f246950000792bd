// Which entries of a weight are clipped, and their part of the gradients (docs/method.md section 5). On the
// CPU. T tokens, N out_features, K in_features, R rank.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <limits>
#include <vector>

#include "lrqat/kernels/low_rank_tile.h"

namespace lrqat::ops {

// By blocks of columns: list i holds those of the i-th block, rows ascending.
struct ClippedEntries {
  std::int64_t most = std::numeric_limits<std::int64_t>::max();  // that are wanted
  std::vector<std::vector<kernels::ClippedEntry>> lists{};
  bool complete = true;  // false: there are more than `most`, or nobody looked, and the lists are empty

  std::int64_t count() const;
};

// g = Σ_t dy[t,n] x[t,k] of every clipped entry, list by list, from columns_operand of both.
std::vector<std::vector<float>> clipped_gradients(const ClippedEntries& clipped,
                                                  const at::Tensor& grad_columns,
                                                  const at::Tensor& x_columns);

// g <- g · s, s [N, G] float32.
void scale_entries(const ClippedEntries& clipped, const at::Tensor& scale, std::int64_t in_features,
                   std::vector<std::vector<float>>& g);

// Σ over the clipped entries of g·B[:,k] for every row n, and of g·A[n,:] for every column k: what the
// low-rank gradient must be reduced by. a [N, R], b_columns [K, R].
struct ClippedPart {
  at::Tensor of_a;          // [N, R]
  at::Tensor of_b_columns;  // [K, R]
};
ClippedPart clipped_part(const ClippedEntries& clipped, const std::vector<std::vector<float>>& g,
                         const at::Tensor& a, const at::Tensor& b_columns);

}  // namespace lrqat::ops
