// The Hadamard transform as a layer: an orthogonal matrix H with entries ±1/√n, which spreads what a few
// channels hold over all of them. n values along the last dimension.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace lrqat::nn {

// Whether there is one of this size: powers of two, and most of these times a small number.
bool has_hadamard(std::int64_t size);

// x·H along the last dimension of float32 x [..., n], differentiable: dx = dy·Hᵀ. Keeps nothing for backward.
at::Tensor hadamard(const at::Tensor& x);

}  // namespace lrqat::nn
