#include "lrqat/nn/rms_norm.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cmath>

#include "lrqat/base/error.h"
#include "lrqat/kernels/rms_norm.h"

namespace lrqat::nn {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr std::int64_t kRowsPerTask = 16;

bool has_row_kernel(const at::Tensor& x) { return x.device().is_cpu() && x.scalar_type() == at::kFloat; }

// y and r = 1 / sqrt(mean(x²) + eps) of every row.
std::pair<at::Tensor, at::Tensor> normalize(const at::Tensor& x, const at::Tensor& weight, double eps) {
  if (!has_row_kernel(x)) {
    const at::Tensor r = (x.square().mean(-1, true) + eps).rsqrt();
    return {x * r * weight, r};
  }
  at::Tensor y = at::empty_like(x);
  at::Tensor r = at::empty({x.size(0), 1}, x.options());
  const std::int64_t size = x.size(1);
  at::parallel_for(0, x.size(0), kRowsPerTask, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      r.data_ptr<float>()[row] =
          kernels::rms_norm_row(x.const_data_ptr<float>() + row * size, weight.const_data_ptr<float>(),
                                static_cast<float>(eps), y.data_ptr<float>() + row * size, size);
    }
  });
  return {y, r};
}

// dx = r (w ⊙ dy) - x r³ mean(w ⊙ dy ⊙ x)
at::Tensor input_gradient(const at::Tensor& grad, const at::Tensor& x, const at::Tensor& weight,
                          const at::Tensor& r) {
  if (!has_row_kernel(x)) {
    const at::Tensor weighted = grad * weight;
    return weighted * r - x * (r.pow(3) * (weighted * x).mean(-1, true));
  }
  at::Tensor grad_x = at::empty_like(x);
  const std::int64_t size = x.size(1);
  at::parallel_for(0, x.size(0), kRowsPerTask, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      kernels::rms_norm_backward_row(grad.const_data_ptr<float>() + row * size,
                                     x.const_data_ptr<float>() + row * size, weight.const_data_ptr<float>(),
                                     r.const_data_ptr<float>()[row], grad_x.data_ptr<float>() + row * size,
                                     size);
    }
  });
  return grad_x;
}

class RmsNormFunction : public torch::autograd::Function<RmsNormFunction> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            double eps) {
    RECORD_USER_SCOPE("norms");
    auto [y, r] = normalize(x, weight, eps);
    context->save_for_backward({x, weight, r});
    return y;
  }

  static variable_list backward(AutogradContext* context, variable_list grad_outputs) {
    RECORD_USER_SCOPE("norms");
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1], &r = saved[2];
    const at::Tensor grad = grad_outputs[0].contiguous();
    variable_list result(3);
    if (context->needs_input_grad(0)) result[0] = input_gradient(grad, x, weight, r);
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
