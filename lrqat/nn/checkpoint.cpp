#include "lrqat/nn/checkpoint.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include "lrqat/base/error.h"

namespace lrqat::nn {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Carries the closure, which no IValue type can hold, through autograd's saved data.
struct FunctionHolder : torch::CustomClassHolder {
  FunctionHolder(CheckpointedFunction f, std::vector<at::Tensor> p)
      : function(std::move(f)), parameters(std::move(p)) {}
  CheckpointedFunction function;
  std::vector<at::Tensor> parameters;
};

class CheckpointNode : public torch::autograd::Function<CheckpointNode> {
 public:
  static at::Tensor forward(AutogradContext* context, at::TensorList activations, at::TensorList parameters,
                            const CheckpointedFunction& function) {
    context->saved_data["holder"] =
        c10::IValue::make_capsule(c10::make_intrusive<FunctionHolder>(function, parameters.vec()));
    context->save_for_backward(activations.vec());
    return function(activations);  // grad mode is off here: no graph
  }

  static variable_list backward(AutogradContext* context, variable_list grad_outputs) {
    const auto holder =
        c10::static_intrusive_pointer_cast<FunctionHolder>(context->saved_data["holder"].toCapsule());
    const variable_list saved = context->get_saved_variables();
    variable_list activations;
    for (std::size_t i = 0; i < saved.size(); ++i) {
      activations.push_back(saved[i].detach().set_requires_grad(context->needs_input_grad(i)));
    }
    variable_list grads = gradients(*holder, activations, grad_outputs[0]);
    grads.emplace_back();  // the closure has none
    return grads;
  }

 private:
  // Runs the function again with a graph, and back through it. autograd::grad, never backward(): gradients
  // belong to the outer graph, which adds them to the leaves itself.
  static variable_list gradients(const FunctionHolder& holder, const variable_list& activations,
                                 const at::Tensor& grad_output) {
    const at::AutoGradMode with_graph(true);
    const at::Tensor output = holder.function(activations);
    variable_list wanted;
    std::vector<std::size_t> positions;
    const auto want = [&](const at::Tensor& input, std::size_t position) {
      if (!input.requires_grad()) return;
      wanted.push_back(input);
      positions.push_back(position);
    };
    for (std::size_t i = 0; i < activations.size(); ++i) want(activations[i], i);
    for (std::size_t i = 0; i < holder.parameters.size(); ++i)
      want(holder.parameters[i], activations.size() + i);
    variable_list result(activations.size() + holder.parameters.size());
    if (wanted.empty()) return result;
    LRQAT_CHECK(output.requires_grad(), "a checkpointed function uses none of its inputs");
    const variable_list grads =
        torch::autograd::grad({output}, wanted, {grad_output}, /*retain_graph=*/false, /*create_graph=*/false,
                              /*allow_unused=*/true);
    for (std::size_t i = 0; i < grads.size(); ++i) result[positions[i]] = grads[i];
    return result;
  }
};

}  // namespace

at::Tensor checkpoint(const CheckpointedFunction& fn, at::TensorList activations, at::TensorList parameters) {
  return CheckpointNode::apply(activations, parameters, fn);
}

}  // namespace lrqat::nn
