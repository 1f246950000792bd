#include "lrqat/kernels/gate.h"

#include "lrqat/kernels/exponential.h"
#include "lrqat/kernels/target.h"

namespace lrqat::kernels {
namespace {

struct ValueAndSlope {
  float value, slope;
};

LRQAT_INLINE ValueAndSlope silu(float x) {
  const float e = exp_nonpositive(x < 0.0F ? x : -x), smaller = e / (1.0F + e);
  const float sigmoid = x < 0.0F ? smaller : 1.0F / (1.0F + e);
  const float rest = x < 0.0F ? 1.0F / (1.0F + e) : smaller;  // 1 - σ(x), without cancellation
  return {x * sigmoid, sigmoid * (1.0F + x * rest)};
}

LRQAT_INLINE ValueAndSlope gelu_tanh(float x) {
  constexpr float kScale = 0.79788456080286536F, kCubic = 0.044715F;
  const float t = tanh_of(kScale * (x + kCubic * x * x * x));
  const float inner = kScale * (1.0F + 3.0F * kCubic * x * x);
  return {0.5F * x * (1.0F + t), 0.5F * (1.0F + t) + 0.5F * x * (1.0F - t * t) * inner};
}

template <ValueAndSlope (*kFunction)(float)>
LRQAT_INLINE void gate_row(const float* gate, const float* up, std::int64_t n, float* out) {
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) out[i] = kFunction(gate[i]).value * up[i];
}

template <ValueAndSlope (*kFunction)(float)>
LRQAT_INLINE void gate_gradients(const float* dy, const float* gate, const float* up, std::int64_t n,
                                 float* dgate, float* dup) {
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) {
    const ValueAndSlope f = kFunction(gate[i]);
    const float by_up = dy[i] * up[i], by_value = dy[i] * f.value;
    dgate[i] = by_up * f.slope;
    dup[i] = by_value;
  }
}

}  // namespace

LRQAT_KERNEL void silu_gate(const float* gate, const float* up, std::int64_t n, float* out) {
  gate_row<silu>(gate, up, n, out);
}

LRQAT_KERNEL void silu_gate_gradients(const float* dy, const float* gate, const float* up, std::int64_t n,
                                      float* dgate, float* dup) {
  gate_gradients<silu>(dy, gate, up, n, dgate, dup);
}

LRQAT_KERNEL void gelu_tanh_gate(const float* gate, const float* up, std::int64_t n, float* out) {
  gate_row<gelu_tanh>(gate, up, n, out);
}

LRQAT_KERNEL void gelu_tanh_gate_gradients(const float* dy, const float* gate, const float* up,
                                           std::int64_t n, float* dgate, float* dup) {
  gate_gradients<gelu_tanh>(dy, gate, up, n, dgate, dup);
}

}  // namespace lrqat::kernels
