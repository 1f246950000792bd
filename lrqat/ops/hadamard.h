// The Hadamard transform of rows, an orthogonal matrix H with entries ±1/√n (kernels/hadamard_matrix.h),
// without autograd.
#pragma once

#include <ATen/core/Tensor.h>

namespace lrqat::ops {

// Whether there is a Hadamard matrix of this order.
bool has_hadamard(std::int64_t size);

// x·H, or x·Hᵀ where `transposed`, along the last dimension of float32 x [..., n]. has_hadamard(n).
at::Tensor hadamard_rows(const at::Tensor& x, bool transposed = false);

}  // namespace lrqat::ops
