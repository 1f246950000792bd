#include "lrqat/nn/rotary_embedding.h"

#include <ATen/ATen.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "lrqat/base/error.h"
#include "lrqat/ops/norm_rows.h"

namespace lrqat::nn {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// number / tensor as Python's torch computes it, bit for bit.
at::Tensor divided_by(double number, const at::Tensor& tensor) { return tensor.reciprocal() * number; }

// transformers' _compute_llama3_parameters: long wavelengths are stretched by `factor`, short ones kept, the
// ones between blended.
at::Tensor llama3_frequencies(const at::Tensor& frequencies, const RopeScaling& scaling) {
  const auto context = static_cast<double>(scaling.original_max_position_embeddings);
  const double low_wavelength = context / scaling.low_freq_factor;
  const double high_wavelength = context / scaling.high_freq_factor;
  const at::Tensor wavelength = divided_by(2 * std::numbers::pi, frequencies);
  const at::Tensor stretched =
      at::where(wavelength > low_wavelength, frequencies / scaling.factor, frequencies);
  const at::Tensor smooth = (divided_by(context, wavelength) - scaling.low_freq_factor) /
                            (scaling.high_freq_factor - scaling.low_freq_factor);
  const at::Tensor blended = (1 - smooth) * stretched / scaling.factor + smooth * stretched;
  const at::Tensor between =
      at::logical_not(wavelength < high_wavelength) * at::logical_not(wavelength > low_wavelength);
  return at::where(between, blended, stretched);
}

// Sequences that longrope and dynamic stretch.
bool is_long(const RopeScaling& scaling, std::int64_t tokens) {
  return (scaling.rope_type == "dynamic" || scaling.rope_type == "longrope") &&
         tokens > scaling.original_max_position_embeddings;
}

// transformers' _compute_dynamic_ntk_parameters.
double dynamic_theta(std::int64_t dimensions, double theta, const RopeScaling& scaling, std::int64_t tokens) {
  const auto original = static_cast<double>(scaling.original_max_position_embeddings);
  const double length = std::max(static_cast<double>(tokens), original);
  const auto size = static_cast<double>(dimensions);
  return theta * std::pow(scaling.factor * length / original - (scaling.factor - 1), size / (size - 2));
}

// transformers' _compute_yarn_parameters: frequencies that turn often are kept, slow ones divided by the
// factor, a ramp between.
at::Tensor yarn_frequencies(const at::Tensor& wavelengths, double theta, const RopeScaling& scaling) {
  const std::int64_t half = wavelengths.size(0);
  const auto dimension_of = [&](double turns) {
    const auto original = static_cast<double>(scaling.original_max_position_embeddings);
    return static_cast<double>(2 * half) * std::log(original / (turns * 2 * std::numbers::pi)) /
           (2 * std::log(theta));
  };
  double low = dimension_of(scaling.beta_fast), high = dimension_of(scaling.beta_slow);
  if (scaling.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(2 * half - 1));
  if (low == high) high += 0.001;
  const at::Tensor kept = 1 - ((at::arange(half, at::kFloat) - low) / (high - low)).clamp(0, 1);
  return (scaling.factor * wavelengths).reciprocal() * (1 - kept) + wavelengths.reciprocal() * kept;
}

// A rotation: its gradient is the rotation back, so nothing of x is kept.
class RotaryFunction : public torch::autograd::Function<RotaryFunction> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& cos,
                            const at::Tensor& sin) {
    RECORD_USER_SCOPE("rotary embedding");
    context->save_for_backward({cos, sin});
    return ops::rotate_heads(x, cos, sin, /*inverse=*/false);
  }

  static variable_list backward(AutogradContext* context, variable_list grad_outputs) {
    RECORD_USER_SCOPE("rotary embedding");
    const variable_list saved = context->get_saved_variables();
    return {ops::rotate_heads(grad_outputs[0].contiguous(), saved[0], saved[1], /*inverse=*/true), {}, {}};
  }
};

}  // namespace

at::Tensor rotary_inverse_frequencies(std::int64_t dimensions, double rope_theta, const RopeScaling& scaling,
                                      std::int64_t tokens) {
  const at::Tensor exponents = at::arange(0, dimensions, 2, at::kFloat) / dimensions;
  if (scaling.rope_type == "dynamic") rope_theta = dynamic_theta(dimensions, rope_theta, scaling, tokens);
  const at::Tensor wavelengths = at::pow(rope_theta, exponents);
  if (scaling.rope_type == "yarn") return yarn_frequencies(wavelengths, rope_theta, scaling);
  if (scaling.rope_type == "longrope") {
    const auto& factors = is_long(scaling, tokens) ? scaling.long_factor : scaling.short_factor;
    return (at::tensor(factors, at::kFloat) * wavelengths).reciprocal();
  }
  const at::Tensor frequencies = wavelengths.reciprocal();
  if (scaling.rope_type == "default" || scaling.rope_type == "dynamic") return frequencies;
  if (scaling.rope_type == "linear") return frequencies / scaling.factor;
  if (scaling.rope_type == "llama3") return llama3_frequencies(frequencies, scaling);
  fail("rope_type \"", scaling.rope_type,
       "\" is not known: default, linear, llama3, dynamic, yarn and longrope are");
}

RotaryEmbedding::RotaryEmbedding(std::int64_t head_dim, double rope_theta, RopeScaling scaling,
                                 std::int64_t dimensions)
    : head_dim_(head_dim),
      dimensions_(dimensions == 0 ? head_dim : dimensions),
      rope_theta_(rope_theta),
      scaling_(std::move(scaling)),
      inverse_frequencies_(rotary_inverse_frequencies(dimensions_, rope_theta_, scaling_)) {
  LRQAT_CHECK(dimensions_ % 2 == 0 && dimensions_ <= head_dim_, dimensions_, " of head_dim ", head_dim_);
}

void RotaryEmbedding::extend(std::int64_t positions, at::Device device) const {
  // Two kinds have other frequencies for long sequences: all angles are recomputed where the length asks for
  // it.
  const bool by_length = is_long(scaling_, positions) && scaling_.rope_type == "dynamic";
  const std::int64_t length = by_length ? positions : is_long(scaling_, positions) ? 1 : 0;
  if (length != length_) {
    inverse_frequencies_ = rotary_inverse_frequencies(dimensions_, rope_theta_, scaling_, positions);
    length_ = length;
    cos_ = at::Tensor();
  }
  if (cos_.defined() && cos_.size(0) >= positions && cos_.device() == device) return;
  constexpr std::int64_t kStep = 256;  // so that generation does not grow it token by token
  const std::int64_t count = (positions + kStep - 1) / kStep * kStep;
  const at::Tensor angles = at::arange(count, at::kFloat).unsqueeze(1) * inverse_frequencies_;
  cos_ = (angles.cos() * scaling_.attention_factor).to(device);
  sin_ = (angles.sin() * scaling_.attention_factor).to(device);
}

at::Tensor RotaryEmbedding::apply(const at::Tensor& x, std::int64_t position) const {
  LRQAT_CHECK(x.dim() == 4 && x.size(3) == head_dim_);
  const std::int64_t tokens = x.size(1);
  extend(position + tokens, x.device());
  const auto rotated = [&](const at::Tensor& part) {
    return RotaryFunction::apply(part.contiguous(), cos_.narrow(0, position, tokens),
                                 sin_.narrow(0, position, tokens));
  };
  if (dimensions_ == head_dim_) return rotated(x);
  return at::cat({rotated(x.narrow(3, 0, dimensions_)), x.narrow(3, dimensions_, head_dim_ - dimensions_)},
                 3);
}

at::Tensor RotaryEmbedding::apply_at(const at::Tensor& x, const at::Tensor& positions,
                                     std::int64_t end) const {
  LRQAT_CHECK(x.dim() == 4 && x.size(3) == head_dim_ && positions.size(0) == x.size(1));
  extend(end, x.device());
  const auto rotated = [&](const at::Tensor& part) {
    return ops::rotate_heads(part.contiguous(), cos_.index_select(0, positions),
                             sin_.index_select(0, positions), /*inverse=*/false);
  };
  if (dimensions_ == head_dim_) return rotated(x);
  return at::cat({rotated(x.narrow(3, 0, dimensions_)), x.narrow(3, dimensions_, head_dim_ - dimensions_)},
                 3);
}

}  // namespace lrqat::nn
