#include "lrqat/nn/linear.h"

#include <ATen/ATen.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <utility>

#include "lrqat/base/error.h"
#include "lrqat/ops/products.h"

namespace lrqat::nn {
namespace {

using ops::ComputeType;
using quant::WeightParametrization;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

at::Tensor empty_grad_x(const WeightParametrization& weight, const at::Tensor& grad) {
  return at::empty({grad.size(0), weight.in_features()}, grad.options().dtype(at::kFloat));
}

// The parametrisations travel through autograd's saved data as an opaque holder.
struct WeightHolder : torch::CustomClassHolder {
  struct Entry {
    std::shared_ptr<WeightParametrization> weight;
    at::Tensor product;      // x Ŵᵀ where it is known already
    std::size_t parameters;  // how many it has
  };
  WeightHolder(std::vector<Entry> e, ComputeType c) : entries(std::move(e)), compute(c) {}
  std::vector<Entry> entries;
  ComputeType compute;
};

// y = x Ŵᵀ of weights that read the same x, and their exact gradients: dx = Σ dy Ŵ; the parameters' through
// dL/dŴ = dyᵀ x, one tile at a time, or without it where the parametrisation can (method.md section 5). What
// products want of x is made and kept once for all of them.
class LinearFunction : public torch::autograd::Function<LinearFunction> {
 public:
  static variable_list forward(AutogradContext* context, const at::Tensor& x, at::TensorList parameters,
                               const c10::intrusive_ptr<WeightHolder>& holder) {
    const at::Tensor operand = ops::in_compute_type(x, holder->compute);
    RECORD_USER_SCOPE("linear: y");
    variable_list outputs;
    for (WeightHolder::Entry& entry : holder->entries) {
      at::Tensor y = std::exchange(entry.product, {});
      if (!y.defined()) y = ops::WeightOperand(*entry.weight, holder->compute).multiply(operand);
      outputs.push_back(std::move(y));
    }
    const bool trains =
        std::any_of(parameters.begin(), parameters.end(), [](auto& p) { return p.requires_grad(); });
    variable_list saved;
    if (trains) {
      saved.push_back(operand);
      saved.insert(saved.end(), outputs.begin(), outputs.end());
    }
    context->save_for_backward(saved);
    context->saved_data["weights"] = c10::IValue::make_capsule(holder);
    return outputs;
  }

  static variable_list backward(AutogradContext* context, variable_list grad_outputs) {
    const auto holder =
        c10::static_intrusive_pointer_cast<WeightHolder>(context->saved_data["weights"].toCapsule());
    const variable_list saved = context->get_saved_variables();
    const bool trains = !saved.empty(), passes_on = context->needs_input_grad(0);
    std::optional<ops::OperandForms> forms;
    if (trains) forms.emplace(saved[0]);
    variable_list result(1);
    for (std::size_t i = 0; i < holder->entries.size(); ++i) {
      const WeightParametrization& weight = *holder->entries[i].weight;
      const at::Tensor grad = grad_outputs[i].contiguous();
      const ops::WeightOperand factor(weight, holder->compute);
      const at::Tensor operand = factor.gradient_operand(grad);
      ops::ClippedEntries clipped{weight.most_clipped(holder->compute)};
      const bool lists = clipped.most > 0 && trains && passes_on;
      if (passes_on) {
        RECORD_USER_SCOPE("linear: dx");
        const bool add = result[0].defined();
        if (!add) result[0] = empty_grad_x(weight, grad);
        factor.multiply_transposed(grad, operand, result[0], add, lists ? &clipped : nullptr);
      }
      std::vector<at::Tensor> grads(holder->entries[i].parameters);
      if (trains) {
        RECORD_USER_SCOPE("linear: dA, dB, ds");
        const auto parameters = weight.parameters();
        for (std::size_t p = 0; p < grads.size(); ++p) grads[p] = at::zeros_like(parameters[p].value);
        add_parameter_gradients(weight,
                                {saved[0], grad, operand, saved[1 + i], lists ? &clipped : nullptr, &*forms,
                                 factor.scales_gradient()},
                                grads);
      }
      result.insert(result.end(), grads.begin(), grads.end());
    }
    result.emplace_back();  // the holder has none
    return result;
  }

 private:
  static void add_parameter_gradients(const WeightParametrization& weight, const ops::LinearGradient& linear,
                                      at::TensorList grads) {
    if (weight.add_gradient_from_activations(linear, grads)) return;
    ops::for_each_gradient_tile(linear, [&](std::int64_t begin, std::int64_t end, const at::Tensor& tile) {
      weight.add_tile_gradient(begin, end, tile, grads);
    });
  }
};

}  // namespace

Linear::Linear(std::string name, std::shared_ptr<quant::WeightParametrization> weight, at::Tensor bias,
               ops::ComputeType compute)
    : name_(std::move(name)), weight_(std::move(weight)), bias_(std::move(bias)), compute_(compute) {
  LRQAT_CHECK(weight_ != nullptr, name_);
  LRQAT_CHECK(!bias_.defined() || (bias_.dim() == 1 && bias_.size(0) == weight_->out_features()), name_);
}

void Linear::set_weight(std::shared_ptr<quant::WeightParametrization> weight) {
  LRQAT_CHECK(weight->out_features() == out_features() && weight->in_features() == in_features(), name_);
  weight_ = std::move(weight);
}

at::Tensor Linear::forward(const at::Tensor& x, at::Tensor* product) const {
  return forward_all({this}, x, product).front();
}

std::vector<at::Tensor> Linear::forward_all(std::initializer_list<const Linear*> linears,
                                            const at::Tensor& x) {
  return forward_all(linears, x, nullptr);
}

// product: of the only one.
std::vector<at::Tensor> Linear::forward_all(std::initializer_list<const Linear*> linears, const at::Tensor& x,
                                            at::Tensor* product) {
  const Linear& first = **linears.begin();
  const at::Tensor x2d = x.reshape({-1, first.in_features()});
  std::vector<at::Tensor> parameters;
  std::vector<WeightHolder::Entry> entries;
  for (const Linear* linear : linears) {
    LRQAT_CHECK(x.size(-1) == linear->in_features(), linear->name_, ": input has ", x.size(-1),
                " features, expected ", linear->in_features());
    LRQAT_CHECK(linear->compute_ == first.compute_, linear->name_);
    const auto own = linear->weight_->parameters();
    for (const auto& parameter : own) parameters.push_back(parameter.value);
    entries.push_back({linear->weight_, {}, own.size()});
    if (linear->observer_) linear->observer_(x2d);
  }
  if (product != nullptr) entries.front().product = std::exchange(*product, {});
  const auto holder = c10::make_intrusive<WeightHolder>(std::move(entries), first.compute_);
  std::vector<at::Tensor> outputs = LinearFunction::apply(x2d, at::TensorList(parameters), holder);
  if (product != nullptr && !at::GradMode::is_enabled()) *product = outputs.front();
  auto output = outputs.begin();
  for (const Linear* linear : linears) {
    if (linear->bias_.defined()) *output = *output + linear->bias_;
    auto shape = x.sizes().vec();
    shape.back() = linear->out_features();
    *output = output->view(shape);
    ++output;
  }
  return outputs;
}

at::Tensor Linear::multiply(const at::Tensor& x2d) const {
  return ops::WeightOperand(*weight_, compute_).multiply(x2d);
}

at::Tensor Linear::multiply_transposed(const at::Tensor& grad) const {
  const ops::WeightOperand factor(*weight_, compute_);
  const at::Tensor rows = grad.contiguous();
  at::Tensor grad_x = empty_grad_x(*weight_, rows);
  factor.multiply_transposed(rows, factor.gradient_operand(rows), grad_x, /*add=*/false);
  return grad_x;
}

}  // namespace lrqat::nn
