#include "lrqat/quant/awq.h"

#include <ATen/ATen.h>

#include <limits>

#include "lrqat/base/error.h"

namespace lrqat::quant {
namespace {

constexpr int kSteps = 20;

at::Tensor scales_of(const at::Tensor& mean_abs, double alpha) {
  const at::Tensor scales = mean_abs.pow(alpha).clamp_min_(1e-4);
  return scales / (scales.max() * scales.min()).sqrt();
}

// ‖E·X‖² but for a factor: tr(E·H·Eᵀ).
double output_error(const at::Tensor& error, const at::Tensor& hessian) {
  return at::mm(error, hessian).mul_(error).sum(at::kDouble).item<double>();
}

}  // namespace

at::Tensor search_channel_scales(at::TensorList weights, const InputStatistics& input,
                                 const std::vector<RoundValues>& round) {
  LRQAT_CHECK(weights.size() == round.size() && !weights.empty());
  if (!input.mean_abs.isfinite().all().item<bool>())
    fail("the calibration text gives activations that are not finite numbers");
  at::Tensor best;
  double smallest = std::numeric_limits<double>::infinity();
  for (int step = 0; step < kSteps; ++step) {
    const at::Tensor scales = scales_of(input.mean_abs, static_cast<double>(step) / kSteps);
    double error = 0.0;
    for (std::size_t i = 0; i < weights.size(); ++i) {
      const at::Tensor rounded = round[i](weights[i] * scales).div_(scales);
      error += output_error(rounded.sub_(weights[i]), input.hessian);
    }
    if (error < smallest) {
      smallest = error;
      best = scales;
    }
  }
  LRQAT_CHECK(best.defined());
  return best;
}

}  // namespace lrqat::quant
