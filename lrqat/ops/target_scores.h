// Log-probabilities of given tokens, from rows of logits.
#pragma once

#include <ATen/core/Tensor.h>

namespace lrqat::ops {

// On the CPU, wherever the logits are.
struct TargetScores {
  at::Tensor log_probability;  // [n] float64: log softmax(logits)[target]
  at::Tensor greedy;           // [n] bool: the target has the largest logit, and the lowest id of equal ones
};

// logits [n, V], targets [n] int64 on the CPU.
TargetScores score_targets(const at::Tensor& logits, const at::Tensor& targets);

}  // namespace lrqat::ops
