#include "lrqat/nn/mlp.h"

#include <ATen/ATen.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/custom_function.h>

#include "lrqat/base/error.h"
#include "lrqat/ops/device.h"

namespace lrqat::nn {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct Silu {
  static void apply(at::Tensor& out, const at::Tensor& x) { at::silu_out(out, x); }
  static void backward(at::Tensor& out, const at::Tensor& grad, const at::Tensor& x) {
    at::silu_backward_out(out, grad, x);
  }
};

struct GeluTanh {
  static void apply(at::Tensor& out, const at::Tensor& x) { at::gelu_out(out, x, "tanh"); }
  static void backward(at::Tensor& out, const at::Tensor& grad, const at::Tensor& x) {
    at::gelu_backward_out(out, grad, x, "tanh");
  }
};

template <typename Activation>
class GatedFunction : public torch::autograd::Function<GatedFunction<Activation>> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& gate, const at::Tensor& up) {
    RECORD_USER_SCOPE("gate");
    context->save_for_backward({gate, up});
    at::Tensor out = at::empty_like(gate);
    ops::for_row_blocks(gate, [&](std::int64_t begin, std::int64_t end) {
      at::Tensor part = out.slice(0, begin, end);
      Activation::apply(part, gate.slice(0, begin, end));
      part.mul_(up.slice(0, begin, end));
    });
    return out;
  }

  static variable_list backward(AutogradContext* context, variable_list grad_outputs) {
    RECORD_USER_SCOPE("gate");
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &gate = saved[0], &up = saved[1];
    const at::Tensor grad = grad_outputs[0].contiguous();
    at::Tensor grad_gate = at::empty_like(gate), grad_up = at::empty_like(up);
    ops::for_row_blocks(gate, [&](std::int64_t begin, std::int64_t end) {
      const at::Tensor dy = grad.slice(0, begin, end), g = gate.slice(0, begin, end);
      at::Tensor dg = grad_gate.slice(0, begin, end), du = grad_up.slice(0, begin, end);
      Activation::apply(du, g);
      du.mul_(dy);
      Activation::backward(dg, dy * up.slice(0, begin, end), g);
    });
    return {grad_gate, grad_up};
  }
};

template <typename Activation>
at::Tensor gated(const at::Tensor& gate, const at::Tensor& up) {
  LRQAT_CHECK(gate.sizes() == up.sizes());
  const auto rows = [](const at::Tensor& x) { return x.reshape({-1, x.size(-1)}).contiguous(); };
  return GatedFunction<Activation>::apply(rows(gate), rows(up)).view(gate.sizes());
}

}  // namespace

at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up) { return gated<Silu>(gate, up); }

at::Tensor geglu(const at::Tensor& gate, const at::Tensor& up) { return gated<GeluTanh>(gate, up); }

at::Tensor Mlp::forward(const at::Tensor& x, at::Tensor* down_product) const {
  const at::Tensor in = points.input(x);
  const auto inner = Linear::forward_all({&gate_proj, &up_proj}, in);
  return down_proj.forward(points.product((gelu ? geglu : swiglu)(inner[0], inner[1])), down_product);
}

}  // namespace lrqat::nn
