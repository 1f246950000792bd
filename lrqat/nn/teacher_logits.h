// What a teacher says of tokens, kept so that the teacher itself need not be there: of each token its most
// likely next tokens, or all logits. T tokens, H hidden_size, V vocab_size.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>

#include "lrqat/nn/linear.h"

namespace lrqat::nn {

// Of all V tokens: `values` [T, V] are the logits, the others are undefined.
// Of k < V: p = softmax(logits / temperature), `ids` int64 [T, k] the tokens with the largest p, `values` [T,
// k] their log p, `rest` [T] the logarithm of all other tokens' p together. Floats are float32.
struct TeacherLogits {
  at::Tensor ids, values, rest;
};

// Those of tokens [begin, end).
using KnownLogits = std::function<TeacherLogits(std::int64_t begin, std::int64_t end)>;

// Of hidden states [T, H] of the teacher, after its final norm. 0 < top_k <= V. softcap: as LossOptions has
// it.
TeacherLogits keep_logits(const at::Tensor& hidden, const Linear& head, double softcap, std::int64_t top_k,
                          double temperature);

}  // namespace lrqat::nn
