// Log-probabilities of given tokens, from final hidden states. H hidden size, V vocabulary.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "lrqat/model/decoder.h"

namespace lrqat::model {

// Rows of logits at a time: 64 MiB of float32.
std::int64_t logit_rows(std::int64_t vocab_size);

// Per row of hidden [n, H]: log p of the row's target [n] int64, float32 on the CPU, and whether the target
// is the most likely token. The logits exist a chunk of rows at a time.
struct RowScores {
  at::Tensor log_probability;  // [n] float64
  at::Tensor greedy;           // [n] bool
};
RowScores score_rows(const Decoder& decoder, const at::Tensor& hidden, const at::Tensor& targets);

}  // namespace lrqat::model
