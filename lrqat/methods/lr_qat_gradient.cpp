// Which form the gradients of LR-QAT's parameters take (docs/method.md section 5): without dL/dŴ where a row
// has one scale, and with dL/dŴ in blocks otherwise. ops/low_rank_gradient.h computes them.
#include <ATen/ATen.h>

#include "lrqat/methods/lr_qat_weight.h"

namespace lrqat::methods {

// Where sampled products cost what dL/dŴ in blocks does (bench/linear_bench --crossover: 6 to 8 % in float32,
// 4 to 6 % in bfloat16).
double LrQatWeight::largest_clipped_share(ops::ComputeType compute) {
  return compute == ops::ComputeType::float32 ? 0.06 : 0.045;
}

// With one scale a row dL/dŴ is never needed. With a scale a group of columns it is where the scales learn,
// and where the other form's 4·T·N·G·R flops save little of its 2·T·N·K.
bool LrQatWeight::has_low_rank_gradient() const {
  const std::int64_t groups = scale_.value().size(1);
  if (groups == 1) return true;
  const bool pays = 8 * groups * options_.rank <= 3 * in_features();
  return !options_.scale.learn && pays && in_features() / groups % 2 == 0;  // pairs of columns in bfloat16
}

std::int64_t LrQatWeight::entries(double share) const {
  return static_cast<std::int64_t>(share * static_cast<double>(out_features() * in_features()));
}

std::int64_t LrQatWeight::most_clipped(ops::ComputeType compute) const {
  return has_low_rank_gradient() ? entries(largest_clipped_share(compute)) : 0;
}

bool LrQatWeight::add_gradient_from_activations(const ops::LinearGradient& linear,
                                                at::TensorList grads) const {
  return add_low_rank_gradient(linear, grads, largest_clipped_share(ops::compute_of(linear.x))) ||
         add_blockwise_gradient(linear, grads);
}

bool LrQatWeight::add_low_rank_gradient(const ops::LinearGradient& linear, at::TensorList grads,
                                        double largest_clipped_share) const {
  return has_low_rank_gradient() &&
         add_gradient(ops::low_rank_gradient(*stored_form(), linear, entries(largest_clipped_share),
                                             options_.scale.learn),
                      grads);
}

bool LrQatWeight::add_blockwise_gradient(const ops::LinearGradient& linear, at::TensorList grads) const {
  return add_gradient(ops::blockwise_gradient(*stored_form(), linear), grads);
}

bool LrQatWeight::add_gradient(const std::optional<ops::LowRankGradient>& gradient,
                               at::TensorList grads) const {
  if (!gradient) return false;
  const double scaling = options_.scaling();
  at::Tensor(grads[0]).add_(gradient->lora_a, scaling);
  at::Tensor(grads[1]).add_(gradient->lora_b, scaling);
  if (options_.scale.learn) quant::add_per_scale_gradient(scale_, gradient->scale, 0, grads[2]);
  return true;
}

}  // namespace lrqat::methods
