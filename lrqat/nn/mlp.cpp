#include "lrqat/nn/mlp.h"

#include <ATen/ATen.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/custom_function.h>

#include "lrqat/base/error.h"
#include "lrqat/nn/hadamard.h"
#include "lrqat/ops/gate.h"

namespace lrqat::nn {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

class GatedFunction : public torch::autograd::Function<GatedFunction> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& gate, const at::Tensor& up,
                            std::int64_t function) {
    RECORD_USER_SCOPE("gate");
    context->save_for_backward({gate, up});
    context->saved_data["function"] = function;
    return ops::gated(static_cast<ops::GateFunction>(function), gate, up);
  }

  static variable_list backward(AutogradContext* context, variable_list grad_outputs) {
    RECORD_USER_SCOPE("gate");
    const variable_list saved = context->get_saved_variables();
    const auto function = static_cast<ops::GateFunction>(context->saved_data["function"].toInt());
    const auto grads = ops::gate_gradients(function, grad_outputs[0].contiguous(), saved[0], saved[1]);
    return {grads.gate, grads.up, {}};
  }
};

at::Tensor gated(const at::Tensor& gate, const at::Tensor& up, ops::GateFunction function) {
  LRQAT_CHECK(gate.sizes() == up.sizes());
  const auto rows = [](const at::Tensor& x) { return x.reshape({-1, x.size(-1)}).contiguous(); };
  return GatedFunction::apply(rows(gate), rows(up), static_cast<std::int64_t>(function)).view(gate.sizes());
}

}  // namespace

at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up) {
  return gated(gate, up, ops::GateFunction::silu);
}

at::Tensor geglu(const at::Tensor& gate, const at::Tensor& up) {
  return gated(gate, up, ops::GateFunction::gelu_tanh);
}

at::Tensor Mlp::forward(const at::Tensor& x, at::Tensor* down_product) const {
  const at::Tensor in = points.input(x);
  const auto inner = Linear::forward_all({&gate_proj, &up_proj}, in);
  const at::Tensor product = (gelu ? geglu : swiglu)(inner[0], inner[1]);
  return down_proj.forward(points.product(hadamard ? nn::hadamard(product) : product), down_product);
}

}  // namespace lrqat::nn
