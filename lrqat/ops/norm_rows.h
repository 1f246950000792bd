// Root-mean-square norm and rotary embedding of rows, without autograd: plain loops on the CPU in float32,
// ATen operations elsewhere. T rows (tokens), H hidden size.
#pragma once

#include <ATen/core/Tensor.h>

namespace lrqat::ops {

struct NormedRows {
  at::Tensor y;  // [T, H]: weight ⊙ x · r
  at::Tensor r;  // [T, 1]: 1 / sqrt(mean(x²) + eps)
};
// x [T, H] and weight [H], contiguous.
NormedRows rms_norm_rows(const at::Tensor& x, const at::Tensor& weight, double eps);

// dx = r (w ⊙ dy) - x r³ mean(w ⊙ dy ⊙ x); all contiguous.
at::Tensor rms_norm_input_gradient(const at::Tensor& grad, const at::Tensor& x, const at::Tensor& weight,
                                   const at::Tensor& r);

// Every head of x [B, T, heads, D], contiguous, by the angles of its token: (x1, x2) -> (x1 cos - x2 sin,
// x2 cos + x1 sin), x1 and x2 the halves of a head; cos and sin [T, D/2], contiguous. inverse: by minus the
// angle.
at::Tensor rotate_heads(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin, bool inverse);

}  // namespace lrqat::ops
