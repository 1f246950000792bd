#include "lrqat/nn/linear.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <utility>

#include "lrqat/base/error.h"
#include "lrqat/kernels/token_sums.h"
#include "lrqat/quant/block_product.h"
#include "lrqat/quant/float_weight.h"

namespace lrqat::nn {
namespace {

using quant::ComputeType;
using quant::WeightParametrization;
using quant::WeightTile;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

at::ScalarType scalar_type(ComputeType compute) {
  return compute == ComputeType::bfloat16 ? at::kBFloat16 : at::kFloat;
}

std::optional<quant::OperandSource> operand_source(const WeightParametrization& weight, ComputeType compute) {
  if (!quant::block_products(compute)) return std::nullopt;
  return weight.operand_source(compute);
}

// out[:, begin:end] = x tileᵀ, scaled. `out` is float32; at::mm in bfloat16 goes through a scratch of its own
// type.
void multiply_tile(const at::Tensor& x, const WeightTile& tile, ComputeType compute, at::Tensor out) {
  const quant::FloatWeight values(tile.values.contiguous());
  if (const auto source = operand_source(values, compute)) {
    quant::block_multiply_out(x, *source, out);
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
    quant::block_multiply_transposed_out(scaled, *source, grad_x, !first, nullptr);
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

at::Tensor multiply_all_transposed(const WeightParametrization& weight, const at::Tensor& grad,
                                   ComputeType compute) {
  at::Tensor grad_x = at::empty({grad.size(0), weight.in_features()}, grad.options().dtype(at::kFloat));
  quant::for_each_tile(
      weight.out_features(), weight.in_features(),
      [&](std::int64_t begin, std::int64_t end) {
        multiply_tile_transposed(grad.slice(1, begin, end), weight.make_tile(begin, end, compute), compute,
                                 grad_x, begin == 0);
      },
      grad.device());
  return grad_x;
}

// dL/dy as the left operand of dL/dy · Ŵ: bfloat16 takes the scale of codes along.
at::Tensor gradient_operand(const at::Tensor& grad, const std::optional<quant::OperandSource>& source,
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
  return source ? quant::block_multiply(x.contiguous(), *source)
                : multiply_all(weight, x.contiguous(), compute);
}

// The parametrisation travels through autograd's saved data as an opaque holder.
struct WeightHolder : torch::CustomClassHolder {
  WeightHolder(std::shared_ptr<WeightParametrization> w, ComputeType c, at::Tensor p)
      : weight(std::move(w)), compute(c), product(std::move(p)) {}
  std::shared_ptr<WeightParametrization> weight;
  ComputeType compute;
  at::Tensor product;  // x Ŵᵀ where it is known already
};

// y = x Ŵᵀ and its exact gradients: dx = dy Ŵ; the parameters' through dL/dŴ = dyᵀ x, one tile at a time, or
// without it where the parametrisation can (method.md section 5).
class LinearFunction : public torch::autograd::Function<LinearFunction> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, at::TensorList parameters,
                            const c10::intrusive_ptr<WeightHolder>& holder) {
    const at::Tensor operand = x.to(scalar_type(holder->compute)).contiguous();
    RECORD_USER_SCOPE("linear: y");
    at::Tensor y = std::exchange(holder->product, {});
    if (!y.defined()) y = nn::multiply(*holder->weight, operand, holder->compute);
    const bool trains =
        std::any_of(parameters.begin(), parameters.end(), [](auto& p) { return p.requires_grad(); });
    variable_list saved;
    if (trains) saved = {operand, y};
    context->save_for_backward(saved);
    context->saved_data["weight"] = c10::IValue::make_capsule(holder);
    context->saved_data["parameters"] = static_cast<std::int64_t>(parameters.size());
    return y;
  }

  static variable_list backward(AutogradContext* context, variable_list grad_outputs) {
    const auto holder =
        c10::static_intrusive_pointer_cast<WeightHolder>(context->saved_data["weight"].toCapsule());
    const auto count = static_cast<std::size_t>(context->saved_data["parameters"].toInt());
    const WeightParametrization& weight = *holder->weight;
    const at::Tensor grad = grad_outputs[0].contiguous();
    const auto source = operand_source(weight, holder->compute);
    const at::Tensor operand = gradient_operand(grad, source, holder->compute);
    const variable_list saved = context->get_saved_variables();
    variable_list result(count + 2);
    quant::ClippedLists clipped;
    const bool lists = source && source->wants_clipped && !saved.empty() && context->needs_input_grad(0);
    if (context->needs_input_grad(0)) {
      RECORD_USER_SCOPE("linear: dx");
      result[0] = source ? quant::block_multiply_transposed(operand, *source, lists ? &clipped : nullptr)
                         : multiply_all_transposed(weight, grad, holder->compute);
    }
    if (!saved.empty()) {
      RECORD_USER_SCOPE("linear: dA, dB, ds");
      std::vector<at::Tensor> grads;
      for (const auto& parameter : weight.parameters()) grads.push_back(at::zeros_like(parameter.value));
      add_parameter_gradients(weight, {saved[0], grad, operand, saved[1], lists ? &clipped : nullptr},
                              source && source->row_scale.defined(), grads);
      for (std::size_t i = 0; i < count; ++i) result[1 + i] = grads[i];
    }
    return result;
  }

 private:
  // scaled_operand: linear.operand carries the rows' scales, which dL/dŴ has not.
  static void add_parameter_gradients(const WeightParametrization& weight,
                                      const quant::LinearGradient& linear, bool scaled_operand,
                                      at::TensorList grads) {
    if (weight.add_gradient_from_activations(linear, grads)) return;
    std::optional<quant::GradientRows> products;
    at::Tensor x;
    if (linear.x.is_cpu() && quant::block_products(quant::compute_of(linear.x))) {
      products.emplace(scaled_operand ? linear.grad_output.to(linear.x.scalar_type()) : linear.operand,
                       linear.x);
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
               quant::ComputeType compute)
    : name_(std::move(name)), weight_(std::move(weight)), bias_(std::move(bias)), compute_(compute) {
  LRQAT_CHECK(weight_ != nullptr, name_);
  LRQAT_CHECK(!bias_.defined() || (bias_.dim() == 1 && bias_.size(0) == weight_->out_features()), name_);
}

void Linear::set_weight(std::shared_ptr<quant::WeightParametrization> weight) {
  LRQAT_CHECK(weight->out_features() == out_features() && weight->in_features() == in_features(), name_);
  weight_ = std::move(weight);
}

at::Tensor Linear::forward(const at::Tensor& x, at::Tensor* product) const {
  LRQAT_CHECK(x.size(-1) == in_features(), name_, ": input has ", x.size(-1), " features, expected ",
              in_features());
  std::vector<at::Tensor> parameters;
  for (const auto& parameter : weight_->parameters()) parameters.push_back(parameter.value);
  const auto holder = c10::make_intrusive<WeightHolder>(
      weight_, compute_, product != nullptr ? std::exchange(*product, {}) : at::Tensor());
  const at::Tensor x2d = x.reshape({-1, in_features()});
  if (observer_) observer_(x2d);
  at::Tensor y = LinearFunction::apply(x2d, at::TensorList(parameters), holder);
  if (product != nullptr && !at::GradMode::is_enabled()) *product = y;
  if (bias_.defined()) y = y + bias_;
  auto shape = x.sizes().vec();
  shape.back() = out_features();
  return y.view(shape);
}

std::optional<quant::OperandSource> Linear::operand_source() const {
  return nn::operand_source(*weight_, compute_);
}

at::Tensor Linear::multiply(const at::Tensor& x2d) const {
  return nn::multiply(*weight_, x2d.to(scalar_type(compute_)), compute_);
}

at::Tensor Linear::multiply_transposed(const at::Tensor& grad) const {
  const auto source = operand_source();
  if (!source) return multiply_all_transposed(*weight_, grad, compute_);
  return quant::block_multiply_transposed(gradient_operand(grad.contiguous(), source, compute_), *source,
                                          nullptr);
}

}  // namespace lrqat::nn
