#include "lrqat/quant/activation_quantizer.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>

#include "lrqat/base/error.h"

namespace lrqat::quant {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

using ops::kSmallestActivationScale;

class PerToken : public torch::autograd::Function<PerToken> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, std::int64_t num_bits) {
    at::Tensor mask;
    at::Tensor values = ops::quantized_tokens(x, static_cast<int>(num_bits), &mask);
    context->save_for_backward({mask});
    return values;
  }
  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    return {grads[0] * context->get_saved_variables()[0], at::Tensor()};
  }
};

// x, then scale and zero_float (a constant 0 on a symmetric grid: autograd takes no undefined tensors).
class Static : public torch::autograd::Function<Static> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& scale,
                            const at::Tensor& zero_float, std::int64_t quant_min, std::int64_t quant_max,
                            double gradient_scale) {
    const at::Tensor zero = zero_float.round().clamp_(quant_min, quant_max);
    const QuantizedActivation result =
        ops::quantize_activation(x, scale, zero, static_cast<int>(quant_min), static_cast<int>(quant_max));
    // x and the codes are for the parameters' gradients alone.
    const bool learns = scale.requires_grad() || zero_float.requires_grad();
    if (learns) {
      context->save_for_backward({result.mask, x, scale, zero_float, result.codes - zero});
    } else {
      context->save_for_backward({result.mask});
    }
    context->saved_data["quant_min"] = quant_min;
    context->saved_data["quant_max"] = quant_max;
    context->saved_data["gradient_scale"] = gradient_scale;
    return result.values;
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor& dy = grads[0];
    variable_list result(6);
    result[0] = dy * saved[0];
    if (saved.size() == 1) return result;
    const at::Tensor mask = saved[0].to(at::kFloat);
    const at::Tensor &x = saved[1], &scale = saved[2], &zero_float = saved[3], &q = saved[4];
    const double factor = context->saved_data["gradient_scale"].toDouble();
    if (context->needs_input_grad(1)) {
      result[1] = (dy * (q - mask * (x / scale))).sum().view({1}).mul_(factor);
    }
    if (context->needs_input_grad(2)) {
      const at::Tensor rounded = zero_float.round();
      const at::Tensor inside = rounded.ge(context->saved_data["quant_min"].toInt())
                                    .logical_and_(rounded.le(context->saved_data["quant_max"].toInt()));
      result[2] = (dy * (mask - 1.0)).sum().view({1}).mul_(scale * factor).mul_(inside);
    }
    return result;
  }
};

}  // namespace

QuantizedActivation quantize_per_token(const at::Tensor& x, int num_bits) {
  LRQAT_CHECK(x.dim() > 0 && x.scalar_type() == at::kFloat && num_bits >= 1 && num_bits <= 16);
  return ops::quantize_tokens(x, num_bits);
}

at::Tensor fake_quantize_per_token(const at::Tensor& x, int num_bits) {
  LRQAT_CHECK(x.dim() > 0 && x.scalar_type() == at::kFloat && num_bits >= 1 && num_bits <= 16);
  if (!x.requires_grad() || !at::GradMode::is_enabled()) return ops::quantized_tokens(x, num_bits, nullptr);
  return PerToken::apply(x, static_cast<std::int64_t>(num_bits));
}

StaticQuantizer::StaticQuantizer(const StaticQuantizerOptions& options, at::Tensor scale,
                                 at::Tensor zero_float)
    : options_(options), scale_(std::move(scale)), zero_float_(std::move(zero_float)) {
  LRQAT_CHECK(scale_.numel() == 1 && zero_float_.defined() != options.symmetric);
}

int StaticQuantizer::quant_max() const { return quant_min() + (1 << options_.num_bits) - 1; }

void StaticQuantizer::observe(const at::Tensor& x) {
  LRQAT_CHECK(!learned_, "a learned range does not follow the data");
  const auto [low, high] = x.detach().aminmax();
  const double m = seen_ ? options_.momentum : 0.0;
  low_ = (1.0 - m) * low.item<double>() + m * low_;
  high_ = (1.0 - m) * high.item<double>() + m * high_;
  seen_ = true;
  set_range(x.device());
}

void StaticQuantizer::set_range(at::Device device) {
  const double low = std::min(low_, 0.0),
               high = std::max(high_, static_cast<double>(kSmallestActivationScale));
  const double reach = options_.symmetric ? std::max(-low, high) : high - low;
  const double scale = reach / quant_max();
  const auto options = at::TensorOptions(at::kFloat).device(device);
  scale_ = at::full({1}, scale, options);
  if (!options_.symmetric) zero_float_ = at::full({1}, -low / scale, options);
}

void StaticQuantizer::learn() {
  LRQAT_CHECK(scale_.defined(), "a range is learned from one that there is");
  learned_ = true;
  scale_.set_requires_grad(true);
  if (zero_float_.defined()) zero_float_.set_requires_grad(true);
}

at::Tensor StaticQuantizer::forward(const at::Tensor& x) const {
  LRQAT_CHECK(scale_.defined(), "a static quantizer needs a range");
  const at::Tensor scale = scale_.clamp_min(kSmallestActivationScale);  // no gradient below the floor
  const double factor =
      options_.gradient_scaling ? 1.0 / std::sqrt(static_cast<double>(x.numel()) * quant_max()) : 1.0;
  return Static::apply(x, scale, zero_float_.defined() ? zero_float_ : at::zeros_like(scale_.detach()),
                       static_cast<std::int64_t>(quant_min()), static_cast<std::int64_t>(quant_max()),
                       factor);
}

QuantizedActivation StaticQuantizer::quantize(const at::Tensor& x) const {
  LRQAT_CHECK(scale_.defined(), "a static quantizer needs a range");
  const at::Tensor scale = scale_.detach().clamp_min(kSmallestActivationScale);
  const at::Tensor zero = zero_float_.defined()
                              ? zero_float_.detach().round().clamp_(quant_min(), quant_max())
                              : at::zeros_like(scale);
  return ops::quantize_activation(x.detach(), scale, zero, quant_min(), quant_max());
}

std::vector<Parameter> StaticQuantizer::parameters() const {
  if (!learned_) return {};
  std::vector<Parameter> parameters{{"scale", scale_, ParameterKind::scale}};
  if (zero_float_.defined()) parameters.push_back({"zero_float", zero_float_, ParameterKind::scale});
  return parameters;
}

ActivationQuantizer::ActivationQuantizer(std::string name, int num_bits, ActivationRange range)
    : name_(std::move(name)), num_bits_(num_bits) {
  if (range == ActivationRange::fixed) static_.emplace(StaticQuantizerOptions{.num_bits = num_bits});
}

at::Tensor ActivationQuantizer::forward(const at::Tensor& x) {
  if (!static_) return fake_quantize_per_token(x, num_bits_);
  if (observing_) {
    static_->observe(x);
    return static_->quantize(x).values;
  }
  return static_->forward(x);
}

void ActivationQuantizer::learn() { static_.value().learn(); }

void ActivationQuantizer::set_range(at::Tensor scale, at::Tensor zero_float) {
  static_.emplace(StaticQuantizerOptions{.num_bits = num_bits_}, std::move(scale), std::move(zero_float));
}

std::vector<Parameter> ActivationQuantizer::parameters() const {
  if (!static_) return {};
  std::vector<Parameter> parameters = static_->parameters();
  for (Parameter& parameter : parameters) parameter.name = name_ + "." + parameter.name;
  return parameters;
}

std::vector<std::pair<std::string, at::Tensor>> ActivationQuantizer::buffers() const {
  if (!static_ || !static_->parameters().empty()) return {};
  return {{name_ + ".scale", static_->scale()}, {name_ + ".zero_float", static_->zero_float()}};
}

}  // namespace lrqat::quant
