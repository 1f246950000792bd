// Per-token fake quantization of activations (docs/method.md section 9), without autograd: in one pass on the
// CPU, as ATen operations elsewhere. Each vector along the last dimension has its own grid,
//     s = max((max x - min x) / largest, 1e-8)      z = -min x / s, not rounded
//     q = clip(round(x / s) + z, 0, largest)        y = s·(q - z)
#pragma once

#include <ATen/core/Tensor.h>

namespace lrqat::ops {

inline constexpr float kSmallestActivationScale = 1e-8F;  // of every activation quantizer, static ones too

// On one grid or a grid a token: q = clip(round(x / s) + z, quant_min, quant_max), y = s·(q - z).
struct QuantizedActivation {
  at::Tensor values;      // y
  at::Tensor codes;       // q: whole numbers plus the fraction of z where z is not whole
  at::Tensor scale;       // [..., 1], or [1] where it is static
  at::Tensor zero_point;  // alike
  at::Tensor mask;        // 1 where not clipped
};
QuantizedActivation quantize_activation(const at::Tensor& x, const at::Tensor& scale,
                                        const at::Tensor& zero_point, int quant_min, int quant_max);

// Every part, as ATen operations on any device. x float32; num_bits 1 to 16, largest = 2^num_bits - 1.
QuantizedActivation quantize_tokens(const at::Tensor& x, int num_bits);

// y of it, bit for bit, and in `mask` (bool, null: not wanted) where it is not clipped.
at::Tensor quantized_tokens(const at::Tensor& x, int num_bits, at::Tensor* mask);

}  // namespace lrqat::ops
