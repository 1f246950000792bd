#include "lrqat/nn/hadamard.h"

#include <ATen/ATen.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/custom_function.h>

#include "lrqat/ops/hadamard.h"

namespace lrqat::nn {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

class HadamardFunction : public torch::autograd::Function<HadamardFunction> {
 public:
  static at::Tensor forward(AutogradContext*, const at::Tensor& x) {
    RECORD_USER_SCOPE("rotations");
    return ops::hadamard_rows(x);
  }

  static variable_list backward(AutogradContext*, variable_list grad_outputs) {
    RECORD_USER_SCOPE("rotations");
    return {ops::hadamard_rows(grad_outputs[0], /*transposed=*/true)};
  }
};

}  // namespace

bool has_hadamard(std::int64_t size) { return ops::has_hadamard(size); }

at::Tensor hadamard(const at::Tensor& x) { return HadamardFunction::apply(x); }

}  // namespace lrqat::nn
