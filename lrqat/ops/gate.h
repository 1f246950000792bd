// The gate of a feed-forward layer, f(gate) · up, on any device. T tokens, I intermediate_size.
#pragma once

#include <ATen/core/Tensor.h>

namespace lrqat::ops {

enum class GateFunction { silu, gelu_tanh };

// f(gate) · up, [T, I]. gate, up [T, I], float32 or float64, contiguous. Without gradients.
at::Tensor gated(GateFunction function, const at::Tensor& gate, const at::Tensor& up);

struct GateGradients {
  at::Tensor gate, up;  // [T, I]
};
// From grad = dL/d(f(gate) · up), [T, I], contiguous.
GateGradients gate_gradients(GateFunction function, const at::Tensor& grad, const at::Tensor& gate,
                             const at::Tensor& up);

}  // namespace lrqat::ops
