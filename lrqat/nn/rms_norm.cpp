#include "lrqat/nn/rms_norm.h"

#include <ATen/ATen.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/custom_function.h>

#include "lrqat/base/error.h"
#include "lrqat/ops/norm_rows.h"

namespace lrqat::nn {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

class RmsNormFunction : public torch::autograd::Function<RmsNormFunction> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            double eps) {
    RECORD_USER_SCOPE("norms");
    auto [y, r] = ops::rms_norm_rows(x, weight, eps);
    context->save_for_backward({x, weight, r});
    return y;
  }

  static variable_list backward(AutogradContext* context, variable_list grad_outputs) {
    RECORD_USER_SCOPE("norms");
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1], &r = saved[2];
    const at::Tensor grad = grad_outputs[0].contiguous();
    variable_list result(3);
    if (context->needs_input_grad(0)) result[0] = ops::rms_norm_input_gradient(grad, x, weight, r);
    if (context->needs_input_grad(1)) result[1] = (grad * x * r).sum(0);
    return result;
  }
};

}  // namespace

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  LRQAT_CHECK(weight.dim() == 1 && x.size(-1) == weight.size(0));
  const at::Tensor rows = x.reshape({-1, x.size(-1)}).contiguous();
  return RmsNormFunction::apply(rows, weight.contiguous(), eps).view(x.sizes());
}

at::Tensor RmsNorm::forward(const at::Tensor& x) const {
  return rms_norm(x, offset == 0 ? weight : weight + offset, eps);
}

}  // namespace lrqat::nn
