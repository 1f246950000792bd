// AdamW's update of parameters (decoupled weight decay, bias correction) on any device:
//     p -= lr·wd·p      m = β1 m + (1-β1) g      v = β2 v + (1-β2) g²
//     p -= lr / (1-β1^t) · m / (sqrt(v) / sqrt(1-β2^t) + eps)
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace lrqat::ops {

struct AdamWHyperparameters {
  double lr, weight_decay, beta1, beta2, eps;
};

// What one parameter's update takes: tensors of the parameter's shape, and the step t, float32 [1].
struct AdamWUpdate {
  at::Tensor parameter, gradient, exp_avg, exp_avg_sq, step;
};

// Updates parameters that share their hyperparameters. fused: by at::_fused_adamw_, of which this is the only
// call, where it takes a parameter's device and types; else by plain ATen operations.
void adamw_update(const std::vector<AdamWUpdate>& updates, const AdamWHyperparameters& h, bool fused);

}  // namespace lrqat::ops
