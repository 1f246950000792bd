// The gate of a feed-forward layer on raw memory, float32: out = f(gate) · up, and its gradients
//     dgate = dy · up · f'(gate)      dup = dy · f(gate)
// for f = SiLU, x·σ(x), and f = GELU in its tanh form, x/2·(1 + tanh(√(2/π)·(x + 0.044715·x³))). Plain loops,
// compiled for several instruction sets (target.h); outputs may be inputs.
#pragma once

#include <cstdint>

namespace lrqat::kernels {

void silu_gate(const float* gate, const float* up, std::int64_t n, float* out);
void silu_gate_gradients(const float* dy, const float* gate, const float* up, std::int64_t n, float* dgate,
                         float* dup);
void gelu_tanh_gate(const float* gate, const float* up, std::int64_t n, float* out);
void gelu_tanh_gate_gradients(const float* dy, const float* gate, const float* up, std::int64_t n,
                              float* dgate, float* dup);

}  // namespace lrqat::kernels
