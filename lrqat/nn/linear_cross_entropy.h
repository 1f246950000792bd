// The head and the loss in one: logits = hidden · headᵀ, softmax cross-entropy and, when distilling, the
// Kullback-Leibler divergence from a teacher, a chunk of tokens at a time (Liger's algorithm), so that no T×V
// tensor exists. Forward makes the gradient of `hidden`, and of a head that is trained (a FloatWeight that
// requires a gradient), while the logits are there; backward only scales them. T tokens, H hidden_size, V
// vocab_size.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

#include "lrqat/nn/linear.h"
#include "lrqat/nn/logit_tiles.h"
#include "lrqat/nn/teacher_logits.h"

namespace lrqat::nn {

// What a token's loss is divided by is passed in, so that micro-batches and ranks do not change the result:
// the number of scored tokens of the whole optimiser step.
struct LossOptions {
  double divisor = 1.0;
  std::int64_t chunk_bytes = kLogitBytes;  // of float logits at a time, each of student and teacher
  double softcap = 0;                      // logits z become softcap · tanh(z / softcap); 0: they stay
  bool use_kernels = true;  // plain loops on the CPU; false (and any other device): ATen operations
};

// loss = weight · KL(teacher ‖ student) + (1 - weight) · cross-entropy. At a temperature τ both softmaxes of
// the divergence are of logits / τ, and it is multiplied by τ² (distilled_rows.h).
struct Distillation {
  at::Tensor hidden;             // [T, H] of the teacher, after its final norm
  const Linear* head = nullptr;  // the teacher's
  double weight = 1.0;
  double temperature = 1.0;
  KnownLogits known = {};  // instead of hidden and head, made for the same temperature
};

// Sums over the scored tokens, not divided.
struct LossSums {
  double cross_entropy = 0.0;
  double divergence = 0.0;  // times τ²; 0 without distillation
  std::int64_t tokens = 0;
};

// hidden [T, H] float32; targets [T] int64, kIgnoreIndex: token not scored (neither by the divergence). The
// result is a scalar; `sums`, where given, is added to.
at::Tensor linear_cross_entropy(const at::Tensor& hidden, const Linear& head, const at::Tensor& targets,
                                const LossOptions& options,
                                const std::optional<Distillation>& distillation = {},
                                LossSums* sums = nullptr);

}  // namespace lrqat::nn
