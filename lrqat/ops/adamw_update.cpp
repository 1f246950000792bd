#include "lrqat/ops/adamw_update.h"

#include <ATen/ATen.h>

#include <cmath>

#include "lrqat/ops/backend.h"

namespace lrqat::ops {
namespace {

// The lists that at::_fused_adamw_ takes.
struct UpdateLists {
  std::vector<at::Tensor> parameters, gradients, exp_avgs, exp_avg_sqs, steps;

  void add(const AdamWUpdate& update) {
    parameters.push_back(update.parameter);
    gradients.push_back(update.gradient);
    exp_avgs.push_back(update.exp_avg);
    exp_avg_sqs.push_back(update.exp_avg_sq);
    steps.push_back(update.step);
  }
};

// The CPU kernel walks raw memory and trusts that all tensors of one parameter have the same layout.
bool fused_takes(const AdamWUpdate& update) {
  return update.parameter.is_contiguous() &&
         update.gradient.scalar_type() == update.parameter.scalar_type() &&
         backend_of(update.parameter).has_fused_adamw();
}

void update_plainly(const AdamWUpdate& update, const AdamWHyperparameters& h) {
  const double step = update.step.item<double>();
  const double correction1 = 1.0 - std::pow(h.beta1, step);
  const double correction2 = 1.0 - std::pow(h.beta2, step);
  const at::Tensor &parameter = update.parameter, &exp_avg = update.exp_avg, &exp_avg_sq = update.exp_avg_sq;
  const at::Tensor gradient = update.gradient.to(parameter.scalar_type());
  parameter.mul_(1.0 - h.lr * h.weight_decay);
  exp_avg.lerp_(gradient, 1.0 - h.beta1);
  exp_avg_sq.mul_(h.beta2).addcmul_(gradient, gradient, 1.0 - h.beta2);
  const at::Tensor denominator = exp_avg_sq.sqrt().div_(std::sqrt(correction2)).add_(h.eps);
  parameter.addcdiv_(exp_avg, denominator, -h.lr / correction1);
}

}  // namespace

void adamw_update(const std::vector<AdamWUpdate>& updates, const AdamWHyperparameters& h, bool fused) {
  UpdateLists lists;
  for (const AdamWUpdate& update : updates) {
    if (fused && fused_takes(update)) {
      lists.add(update);
    } else {
      update_plainly(update, h);
    }
  }
  if (lists.parameters.empty()) return;
  at::_fused_adamw_(lists.parameters, lists.gradients, lists.exp_avgs, lists.exp_avg_sqs,
                    /*max_exp_avg_sqs=*/{}, lists.steps, h.lr, h.beta1, h.beta2, h.weight_decay, h.eps,
                    /*amsgrad=*/false, /*maximize=*/false);
}

}  // namespace lrqat::ops
