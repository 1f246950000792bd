#include "lrqat/ops/learned_rounding.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>

#include "lrqat/base/error.h"
#include "lrqat/kernels/learned_rounding.h"
#include "lrqat/ops/cpu_backend.h"

namespace lrqat::ops {
namespace {

static_assert(kLargestRoundingCode == kernels::kLargestRoundingCode);

int codes_of(double step) {
  return static_cast<int>(std::lround(step / static_cast<double>(kernels::kRoundingUnit)));
}

kernels::LearnedRounding view_of(const LearnedRounding& state) {
  return {.weight = state.weight.const_data_ptr<float>(),
          .rounding = state.rounding.mutable_data_ptr<std::int16_t>(),
          .scale = state.scale.const_data_ptr<float>(),
          .zero_point = state.zero_point.defined() ? state.zero_point.const_data_ptr<float>() : nullptr,
          .cols = state.weight.size(1),
          .groups = state.scale.size(1),
          .quant_min = static_cast<float>(state.quant_min),
          .quant_max = static_cast<float>(state.quant_max)};
}

kernels::RoundedOutput output_of(const at::Tensor& out) {
  switch (out.scalar_type()) {
    case at::kChar:
      return {.codes = out.mutable_data_ptr<std::int8_t>()};
    case at::kFloat:
      return {.values = out.mutable_data_ptr<float>()};
    case at::kBFloat16:
      return {.bfloat16_values = static_cast<std::uint16_t*>(out.mutable_data_ptr())};
    default:
      internal_error(__FILE__, __LINE__, "type", "");
  }
}

std::int64_t rows_at_once(const LearnedRounding& state) {
  return std::max<std::int64_t>(1, (1 << 14) / state.weight.size(1));
}

// --- other devices

// Rows of the state, [rows, G, K / G] or [rows, G, 1].
struct Rows {
  at::Tensor steps, rounded, codes, scale, zero_point;
};

Rows rows_of(const LearnedRounding& state, std::int64_t begin, std::int64_t end) {
  const auto grouped = [&](const at::Tensor& tensor) {
    return tensor.slice(0, begin, end).view({end - begin, state.scale.size(1), -1});
  };
  Rows rows;
  rows.scale = grouped(state.scale);
  rows.zero_point = state.zero_point.defined() ? grouped(state.zero_point) : at::zeros_like(rows.scale);
  rows.steps = grouped(state.weight) / rows.scale;
  const at::Tensor offset = grouped(state.rounding).to(at::kFloat).mul_(kernels::kRoundingUnit);
  rows.rounded = (rows.steps + offset).round_().add_(rows.zero_point);
  rows.codes = rows.rounded.clamp(state.quant_min, state.quant_max);
  return rows;
}

}  // namespace

void round_learned(const LearnedRounding& state, std::int64_t row_begin, std::int64_t row_end,
                   const at::Tensor& out) {
  backend_of(out).round_learned(state, row_begin, row_end, out);
}

void step_rounding(const LearnedRounding& state, const LinearGradient& linear, double step,
                   const at::Tensor& grad_scale, const at::Tensor& grad_zero_point) {
  backend_of(state.weight).step_rounding(state, linear, step, grad_scale, grad_zero_point);
}

void CpuBackend::round_learned(const LearnedRounding& state, std::int64_t row_begin, std::int64_t row_end,
                               const at::Tensor& out) const {
  const kernels::LearnedRounding view = view_of(state);
  const kernels::RoundedOutput output = output_of(out);
  at::parallel_for(row_begin, row_end, rows_at_once(state), [&](std::int64_t begin, std::int64_t end) {
    kernels::round_learned(view, begin, end, output);
  });
}

void CpuBackend::step_rounding(const LearnedRounding& state, const LinearGradient& linear, double step,
                               const at::Tensor& grad_scale, const at::Tensor& grad_zero_point) const {
  if (!block_products(compute_of(linear.x))) {
    Backend::step_rounding(state, linear, step, grad_scale, grad_zero_point);
    return;
  }
  const int codes = codes_of(step);
  const std::int64_t groups = state.scale.size(1);
  const kernels::LearnedRounding view = view_of(state);
  auto* scales = grad_scale.mutable_data_ptr<float>();
  auto* zero_points = grad_zero_point.defined() ? grad_zero_point.mutable_data_ptr<float>() : nullptr;
  gradient_rows_of(linear).for_each([&](std::int64_t begin, std::int64_t end, const float* gradient) {
    kernels::step_rounding(view, begin, end, gradient, codes, scales + begin * groups,
                           zero_points == nullptr ? nullptr : zero_points + begin * groups);
  });
}

void Backend::round_learned(const LearnedRounding& state, std::int64_t begin, std::int64_t end,
                            const at::Tensor& out) const {
  const Rows rows = rows_of(state, begin, end);
  const at::Tensor made =
      out.scalar_type() == at::kChar ? rows.codes : (rows.codes - rows.zero_point).mul_(rows.scale);
  out.slice(0, begin, end).copy_(made.reshape({end - begin, -1}));
}

void Backend::step_rounding(const LearnedRounding& state, const LinearGradient& linear, double step,
                            const at::Tensor& grad_scale, const at::Tensor& grad_zero_point) const {
  for_each_gradient_tile(linear, [&](std::int64_t begin, std::int64_t end, const at::Tensor& gradient) {
    const Rows rows = rows_of(state, begin, end);
    const at::Tensor g = gradient.reshape(rows.steps.sizes());
    const at::Tensor inside = rows.codes.eq(rows.rounded).to(at::kFloat);
    grad_scale.slice(0, begin, end).copy_((g * (rows.codes - rows.zero_point - inside * rows.steps)).sum(2));
    if (grad_zero_point.defined())
      grad_zero_point.slice(0, begin, end).copy_((g * (inside - 1.0) * rows.scale).sum(2));
    const at::Tensor moved = (inside * g * rows.scale).sign_().mul_(codes_of(step)).reshape(gradient.sizes());
    const at::Tensor codes = state.rounding.slice(0, begin, end);
    codes.copy_((codes.to(at::kFloat) - moved).clamp_(-kLargestRoundingCode, kLargestRoundingCode));
  });
}

}  // namespace lrqat::ops
