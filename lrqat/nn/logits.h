// Logits of final hidden states, and log-probabilities of given tokens from them. H hidden size, V
// vocabulary.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "lrqat/nn/linear.h"
#include "lrqat/ops/target_scores.h"

namespace lrqat::nn {

// head(hidden), [..., H] -> [..., V]. softcap: logits z become softcap · tanh(z / softcap), as Gemma 2 has
// it; 0: they stay.
at::Tensor head_logits(const Linear& head, double softcap, const at::Tensor& hidden);

// Rows of logits at a time: 64 MiB of float32.
std::int64_t logit_rows(std::int64_t vocab_size);

// Per row of hidden [n, H], float32: log p of the row's target [n], int64 on the CPU, and whether the target
// is the most likely token. The logits exist a chunk of rows at a time.
ops::TargetScores score_rows(const Linear& head, double softcap, const at::Tensor& hidden,
                             const at::Tensor& targets);

}  // namespace lrqat::nn
