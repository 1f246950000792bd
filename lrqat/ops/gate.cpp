#include "lrqat/ops/gate.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "lrqat/kernels/gate.h"
#include "lrqat/ops/cpu_backend.h"

namespace lrqat::ops {
namespace {

constexpr std::int64_t kElementsPerTask = 1 << 14;

}  // namespace

at::Tensor gated(GateFunction function, const at::Tensor& gate, const at::Tensor& up) {
  return backend_of(gate).gated(function, gate, up);
}

GateGradients gate_gradients(GateFunction function, const at::Tensor& grad, const at::Tensor& gate,
                             const at::Tensor& up) {
  return backend_of(gate).gate_gradients(function, grad, gate, up);
}

at::Tensor Backend::gated(GateFunction function, const at::Tensor& gate, const at::Tensor& up) const {
  return (function == GateFunction::silu ? at::silu(gate) : at::gelu(gate, "tanh")).mul_(up);
}

GateGradients Backend::gate_gradients(GateFunction function, const at::Tensor& grad, const at::Tensor& gate,
                                      const at::Tensor& up) const {
  if (function == GateFunction::silu) return {at::silu_backward(grad * up, gate), at::silu(gate).mul_(grad)};
  return {at::gelu_backward(grad * up, gate, "tanh"), at::gelu(gate, "tanh").mul_(grad)};
}

at::Tensor CpuBackend::gated(GateFunction function, const at::Tensor& gate, const at::Tensor& up) const {
  if (gate.scalar_type() != at::kFloat) return Backend::gated(function, gate, up);
  const auto kernel = function == GateFunction::silu ? kernels::silu_gate : kernels::gelu_tanh_gate;
  at::Tensor out = at::empty_like(gate);
  const auto *g = gate.const_data_ptr<float>(), *u = up.const_data_ptr<float>();
  auto* y = out.mutable_data_ptr<float>();
  at::parallel_for(0, gate.numel(), kElementsPerTask, [&](std::int64_t begin, std::int64_t end) {
    kernel(g + begin, u + begin, end - begin, y + begin);
  });
  return out;
}

GateGradients CpuBackend::gate_gradients(GateFunction function, const at::Tensor& grad,
                                         const at::Tensor& gate, const at::Tensor& up) const {
  if (gate.scalar_type() != at::kFloat) return Backend::gate_gradients(function, grad, gate, up);
  const auto kernel =
      function == GateFunction::silu ? kernels::silu_gate_gradients : kernels::gelu_tanh_gate_gradients;
  GateGradients grads{at::empty_like(gate), at::empty_like(up)};
  const auto *dy = grad.const_data_ptr<float>(), *g = gate.const_data_ptr<float>(),
             *u = up.const_data_ptr<float>();
  auto *dg = grads.gate.mutable_data_ptr<float>(), *du = grads.up.mutable_data_ptr<float>();
  at::parallel_for(0, gate.numel(), kElementsPerTask, [&](std::int64_t begin, std::int64_t end) {
    kernel(dy + begin, g + begin, u + begin, end - begin, dg + begin, du + begin);
  });
  return grads;
}

}  // namespace lrqat::ops
