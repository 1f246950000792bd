// The big matrix products of a linear layer on the CPU, over blocks of Ŵ that are made, multiplied while they
// are in the second cache, and dropped. Each thread makes its own blocks; nothing of size N×K is written.
// Where block_products() of the operands' type; products.h chooses. T tokens, N out_features, K in_features.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "lrqat/ops/block_source.h"
#include "lrqat/ops/clipped_entries.h"

namespace lrqat::ops {

// out = x Ŵᵀ, float32 [T, N], which may be a strided view with adjacent columns. x [T, K], float32 or
// bfloat16, with adjacent columns. N and K even for bfloat16.
void block_multiply(const at::Tensor& x, const BlockSource& weight, const at::Tensor& out);

// out = grad Ŵ, or out += grad Ŵ, float32 [T, K]; grad [T, N], float32, or bfloat16 and multiplied by
// row_scale already. grad and out may be strided views with adjacent columns. `clipped`, where not null,
// receives the clipped entries of Ŵ, or stops as soon as there are more than it wants.
void block_multiply_transposed(const at::Tensor& grad, const BlockSource& weight, const at::Tensor& out,
                               bool add, ClippedEntries* clipped);

// The clipped entries alone, where there are at most `most`.
ClippedEntries find_clipped(const BlockSource& weight, std::int64_t most);

}  // namespace lrqat::ops
