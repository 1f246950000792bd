#include "lrqat/quant/rounding_weight.h"

#include <ATen/ATen.h>

#include <utility>

#include "lrqat/base/error.h"
#include "lrqat/quant/scale_parameter.h"
#include "lrqat/quant/tile_math.h"

namespace lrqat::quant {
namespace {

constexpr double kLeastFactor = 0.1;
constexpr double kShares[] = {1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5, 0.45, 0.4};

// Extremes of the weights of each scale, zero included.
struct Extremes {
  at::Tensor low, high;
};
Extremes extremes_of(const at::Tensor& weight, const Granularity& granularity) {
  const auto shape = granularity.scale_shape(weight.size(0), weight.size(1));
  const auto [low, high] = weight.reshape({shape[0], shape[1], -1}).aminmax(2);
  return {low.clamp_max(0.0), high.clamp_min(0.0)};
}

// s0: the larger side reaches -2^(b-1).
at::Tensor signed_scale(const Extremes& extremes, const Grid& grid) {
  const at::Tensor up = extremes.high / grid.quant_min, down = extremes.low / grid.quant_min;
  return at::where(extremes.high.gt(extremes.low.neg()), up, down);
}

// Of scales that follow the range: in the linear domain, not parameters themselves.
ScaleOptions fixed_scale(const QuantSpec& spec) {
  ScaleOptions options = spec.scale;
  options.domain = ScaleDomain::linear;
  options.learn = false;
  return options;
}

}  // namespace

RoundingWeight::RoundingWeight(const std::string& name, at::Tensor weight, const QuantSpec& spec,
                               ops::ComputeType compute)
    : spec_(spec) {
  spec.granularity.check(name, weight.size(1));
  check_finite(name, weight);
  const Extremes extremes = extremes_of(weight, spec.granularity);
  range_ = spec.symmetric ? std::vector{signed_scale(extremes, spec.grid)}
                          : std::vector{extremes.low, extremes.high};
  for (const at::Tensor& range : range_) factors_.push_back(at::ones_like(range).set_requires_grad(true));
  // The full range has the largest scales: what the type does not hold is refused here.
  sign_ = ScaleParameter(scale_of_range(), fixed_scale(spec)).sign();
  state_.weight = std::move(weight).contiguous();
  state_.rounding = at::zeros(state_.weight.sizes(), state_.weight.options().dtype(at::kShort));
  state_.quant_min = spec.grid.quant_min;
  state_.quant_max = spec.grid.quant_max;
  values_ = at::empty(state_.weight.sizes(), state_.weight.options().dtype(ops::scalar_type(compute)));
  search_range();
  set_range();
  make_values();
}

// The first factors: for each scale the share of the full range with the least squared error of rounding.
// Few steps of descent are enough from there, where two or three bits would otherwise spend theirs on it.
void RoundingWeight::search_range() {
  const auto shape = spec_.granularity.scale_shape(out_features(), in_features());
  const at::Tensor values = at::empty_like(state_.weight);
  at::Tensor best, least;
  for (const double share : kShares) {
    for (const at::Tensor& factor : factors_) factor.detach().fill_(share);
    set_range();
    ops::round_learned(state_, 0, out_features(), values);
    const at::Tensor error = values.sub_(state_.weight).square_().view({shape[0], shape[1], -1}).sum(2);
    if (!best.defined()) {
      best = at::full_like(error, share);
      least = error;
    } else {
      best.masked_fill_(error.lt(least), share);
      least = at::minimum(least, error);
    }
  }
  for (const at::Tensor& factor : factors_) factor.detach().copy_(best);
}

at::Tensor RoundingWeight::first_end() const { return factors_[0].detach() * range_[0]; }

at::Tensor RoundingWeight::scale_of_range() const {
  if (spec_.symmetric) return first_end();
  const double steps = spec_.grid.quant_max - spec_.grid.quant_min;
  return (factors_[1].detach() * range_[1] - first_end()) / steps;
}

void RoundingWeight::set_range() {
  const at::Tensor wanted = scale_of_range();
  const at::Tensor size = sign_.defined() ? wanted.abs() : wanted;
  const at::Tensor scale = ScaleParameter::from_value(size, fixed_scale(spec_), sign_).effective();
  const auto rows = [&](const at::Tensor& tensor) {
    return tensor.expand({out_features(), tensor.size(1)}).contiguous();
  };
  state_.scale = rows(scale);
  if (!spec_.symmetric) {
    const at::Tensor zero = (first_end() / scale).neg_().round_().add_(spec_.grid.quant_min);
    state_.zero_point = rows(zero.clamp_(spec_.grid.quant_min, spec_.grid.quant_max));
  }
}

void RoundingWeight::make_values() { ops::round_learned(state_, 0, out_features(), values_); }

WeightTile RoundingWeight::make_tile(std::int64_t row_begin, std::int64_t row_end,
                                     ops::ComputeType compute) const {
  return {values_.slice(0, row_begin, row_end).to(ops::scalar_type(compute)), {}};
}

std::vector<Parameter> RoundingWeight::parameters() const {
  std::vector<Parameter> parameters;
  for (const at::Tensor& factor : factors_)
    parameters.push_back({"range_factor", factor, ParameterKind::scale});
  return parameters;
}

// dm from ds and dz: s and z are straight-through functions of m.
bool RoundingWeight::add_gradient_from_activations(const ops::LinearGradient& linear,
                                                   at::TensorList grads) const {
  const at::Tensor grad_scale = at::empty_like(state_.scale);
  const at::Tensor grad_zero = spec_.symmetric ? at::Tensor() : at::empty_like(grad_scale);
  ops::step_rounding(state_, linear, rates_.rounding, grad_scale, grad_zero);
  if (spec_.symmetric) {
    add_per_scale_gradient(grad_scale * range_[0], 0, grads[0]);
    return true;
  }
  const double steps = spec_.grid.quant_max - spec_.grid.quant_min;
  // z = quant_min - first_end / s
  const at::Tensor by_scale = grad_scale + grad_zero * first_end() / state_.scale.square();
  add_per_scale_gradient((by_scale / -steps - grad_zero / state_.scale) * range_[0], 0, grads[0]);
  add_per_scale_gradient(by_scale / steps * range_[1], 0, grads[1]);
  return true;
}

void RoundingWeight::step() {
  for (const at::Tensor& factor : factors_) {
    if (!factor.grad().defined()) continue;
    factor.detach().sub_(factor.grad().sign(), rates_.range).clamp_(kLeastFactor, 1.0);
    factor.mutable_grad().reset();
  }
  set_range();
  make_values();
}

RoundedWeight RoundingWeight::rounded() const {
  const at::Tensor codes = at::empty(state_.weight.sizes(), state_.weight.options().dtype(at::kChar));
  ops::round_learned(state_, 0, out_features(), codes);
  const auto shape = spec_.granularity.scale_shape(out_features(), in_features());
  RoundedWeight result;
  result.rounded = {spec_.grid, spec_.granularity, codes, state_.scale.slice(0, 0, shape[0]).clone()};
  at::Tensor offset = state_.rounding.to(at::kFloat).mul_(0.5 / ops::kLargestRoundingCode);
  result.unrounded = divide_by_scale(state_.weight, state_.scale).add_(offset);
  if (!spec_.symmetric) {
    result.rounded.zero_point = state_.zero_point.slice(0, 0, shape[0]).to(at::kChar);
    grouped(result.unrounded, state_.scale).add_(rows_of(state_.zero_point));
  }
  result.rounded.clipped_fraction = share_beyond(result.unrounded, spec_.grid);
  return result;
}

std::int64_t RoundingWeight::resident_bytes() const {
  std::size_t bytes =
      state_.weight.nbytes() + state_.rounding.nbytes() + state_.scale.nbytes() + values_.nbytes();
  if (state_.zero_point.defined()) bytes += state_.zero_point.nbytes();
  return static_cast<std::int64_t>(bytes);
}

}  // namespace lrqat::quant
