#include "lrqat/nn/linear.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <utility>

#include "lrqat/base/error.h"
#include "lrqat/kernels/token_sums.h"
#include "lrqat/ops/block_product.h"
#include "lrqat/quant/float_weight.h"

namespace lrqat::nn {
namespace {

using ops::ComputeType;
using quant::WeightParametrization;
using quant::WeightTile;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

at::ScalarType scalar_type(ComputeType compute) {
  return compute == ComputeType::bfloat16 ? at::kBFloat16 : at::kFloat;
}

std::optional<ops::OperandSource> operand_source(const WeightParametrization& weight, ComputeType compute) {
  if (!ops::block_products(compute)) return std::nullopt;
  return weight.operand_source(compute);
}

// out[:, begin:end] = x tileᵀ, scaled. `out` is float32; at::mm in bfloat16 goes through a scratch of its own
// type.
void multiply_tile(const at::Tensor& x, const WeightTile& tile, ComputeType compute, at::Tensor out) {
  const quant::FloatWeight values(tile.values.contiguous());
  if (const auto source = operand_source(values, compute)) {
    ops::block_multiply_out(x, *source, out);
  } else if (compute == ComputeType::float32) {
    at::mm_out(out, x, tile.values.t());
  } else {
    out.copy_(at::mm(x, tile.values.t()));
  }
  if (tile.row_scale.defined()) out.mul_(tile.row_scale);
}

at::Tensor multiply_all(const WeightParametrization& weight, const at::Tensor& x, ComputeType compute) {
  at::Tensor out = at::empty({x.size(0), weight.out_features()}, x.options().dtype(at::kFloat));
  quant::for_each_tile(
      weight.out_features(), weight.in_features(),
      [&](std::int64_t begin, std::int64_t end) {
        multiply_tile(x, weight.make_tile(begin, end, compute), compute, out.slice(1, begin, end));
      },
      x.device());
  return out;
}

// grad_x += grad[:, begin:end] · tile
void multiply_tile_transposed(const at::Tensor& grad, const WeightTile& tile, ComputeType compute,
                              at::Tensor& grad_x, bool first) {
  at::Tensor scaled = tile.row_scale.defined() ? grad * tile.row_scale : grad;
  scaled = scaled.to(tile.values.scalar_type());
  const quant::FloatWeight values(tile.values.contiguous());
  if (const auto source = operand_source(values, compute)) {
    ops::block_multiply_transposed_out(scaled, *source, grad_x, !first, nullptr);
  } else if (compute == ComputeType::float32 && first) {
    at::mm_out(grad_x, scaled, tile.values);
  } else if (compute == ComputeType::float32) {
    grad_x.addmm_(scaled, tile.values);
  } else if (first) {
    grad_x.copy_(at::mm(scaled, tile.values));
  } else {
    grad_x.add_(at::mm(scaled, tile.values));
  }
}

// grad_x = grad Ŵ, or grad_x += grad Ŵ.
void multiply_all_transposed(const WeightParametrization& weight, const at::Tensor& grad, ComputeType compute,
                             at::Tensor& grad_x, bool add) {
  quant::for_each_tile(
      weight.out_features(), weight.in_features(),
      [&](std::int64_t begin, std::int64_t end) {
        multiply_tile_transposed(grad.slice(1, begin, end), weight.make_tile(begin, end, compute), compute,
                                 grad_x, begin == 0 && !add);
      },
      grad.device());
}

at::Tensor empty_grad_x(const WeightParametrization& weight, const at::Tensor& grad) {
  return at::empty({grad.size(0), weight.in_features()}, grad.options().dtype(at::kFloat));
}

// dL/dy as the left operand of dL/dy · Ŵ: bfloat16 takes the scale of codes along.
at::Tensor gradient_operand(const at::Tensor& grad, const std::optional<ops::OperandSource>& source,
                            ComputeType compute) {
  if (compute == ComputeType::float32) return grad;
  if (!source || !source->row_scale.defined()) return grad.to(at::kBFloat16);
  at::Tensor operand = at::empty(grad.sizes(), grad.options().dtype(at::kBFloat16));
  at::parallel_for(0, grad.size(0), 16, [&](std::int64_t begin, std::int64_t end) {
    kernels::scale_to_bfloat16(grad.const_data_ptr<float>(), source->row_scale.const_data_ptr<float>(), begin,
                               end, grad.size(1), static_cast<std::uint16_t*>(operand.mutable_data_ptr()));
  });
  return operand;
}

at::Tensor multiply(const WeightParametrization& weight, const at::Tensor& x, ComputeType compute) {
  const auto source = operand_source(weight, compute);
  return source ? ops::block_multiply(x.contiguous(), *source)
                : multiply_all(weight, x.contiguous(), compute);
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
    const at::Tensor operand = x.to(scalar_type(holder->compute)).contiguous();
    RECORD_USER_SCOPE("linear: y");
    variable_list outputs;
    for (WeightHolder::Entry& entry : holder->entries) {
      at::Tensor y = std::exchange(entry.product, {});
      if (!y.defined()) y = nn::multiply(*entry.weight, operand, holder->compute);
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
      const auto source = operand_source(weight, holder->compute);
      const at::Tensor operand = gradient_operand(grad, source, holder->compute);
      ops::ClippedLists clipped{source ? source->most_clipped : 0};
      const bool lists = clipped.most > 0 && trains && passes_on;
      if (passes_on)
        add_grad_x(weight, source, grad, operand, lists ? &clipped : nullptr, holder->compute, result[0]);
      std::vector<at::Tensor> grads(holder->entries[i].parameters);
      if (trains) {
        RECORD_USER_SCOPE("linear: dA, dB, ds");
        const auto parameters = weight.parameters();
        for (std::size_t p = 0; p < grads.size(); ++p) grads[p] = at::zeros_like(parameters[p].value);
        add_parameter_gradients(weight,
                                {saved[0], grad, operand, saved[1 + i], lists ? &clipped : nullptr, &*forms},
                                source && source->row_scale.defined(), grads);
      }
      result.insert(result.end(), grads.begin(), grads.end());
    }
    result.emplace_back();  // the holder has none
    return result;
  }

 private:
  static void add_grad_x(const WeightParametrization& weight, const std::optional<ops::OperandSource>& source,
                         const at::Tensor& grad, const at::Tensor& operand, ops::ClippedLists* clipped,
                         ComputeType compute, at::Tensor& grad_x) {
    RECORD_USER_SCOPE("linear: dx");
    const bool add = grad_x.defined();
    if (!add) grad_x = empty_grad_x(weight, grad);
    if (source) {
      ops::block_multiply_transposed_out(operand, *source, grad_x, add, clipped);
    } else {
      multiply_all_transposed(weight, grad, compute, grad_x, add);
    }
  }

  // scaled_operand: linear.operand carries the rows' scales, which dL/dŴ has not.
  static void add_parameter_gradients(const WeightParametrization& weight,
                                      const quant::LinearGradient& linear, bool scaled_operand,
                                      at::TensorList grads) {
    if (weight.add_gradient_from_activations(linear, grads)) return;
    std::optional<ops::GradientRows> products;
    at::Tensor x;
    if (linear.x.is_cpu() && ops::block_products(ops::compute_of(linear.x))) {
      products.emplace(scaled_operand ? linear.grad_output.to(linear.x.scalar_type()) : linear.operand,
                       linear.forms->rows());
    } else {
      x = linear.x.to(at::kFloat);
    }
    quant::for_each_tile(
        weight.out_features(), weight.in_features(),
        [&](std::int64_t begin, std::int64_t end) {
          const at::Tensor tile =
              products ? products->rows(begin, end) : at::mm(linear.grad_output.slice(1, begin, end).t(), x);
          weight.add_tile_gradient(begin, end, tile, grads);
        },
        linear.x.device());
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

std::optional<ops::OperandSource> Linear::operand_source() const {
  return nn::operand_source(*weight_, compute_);
}

at::Tensor Linear::multiply(const at::Tensor& x2d) const {
  return nn::multiply(*weight_, x2d.to(scalar_type(compute_)), compute_);
}

at::Tensor Linear::multiply_transposed(const at::Tensor& grad) const {
  const auto source = operand_source();
  if (!source) {
    at::Tensor grad_x = empty_grad_x(*weight_, grad);
    multiply_all_transposed(*weight_, grad, compute_, grad_x, /*add=*/false);
    return grad_x;
  }
  return ops::block_multiply_transposed(gradient_operand(grad.contiguous(), source, compute_), *source,
                                        nullptr);
}

}  // namespace lrqat::nn
