// Rows of logits, made and read a tile of the head at a time: what the loss and what a teacher's logits are
// kept from share, so that both get the same bits. T tokens, H hidden_size, V vocab_size.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>

#include "lrqat/nn/linear.h"
#include "lrqat/ops/backend.h"

namespace lrqat::nn {

// Float32 logits of a model that are there at a time.
inline constexpr std::int64_t kLogitBytes = std::int64_t{32} << 20;

// Tokens a chunk: as many as `bytes` of logits hold, and all chunks of about the same size.
std::int64_t chunk_tokens(std::int64_t tokens, std::int64_t vocabulary, std::int64_t bytes);

// Columns [begin, end) of the logits, and the head's rows that make them.
using VisitHeadTile = std::function<void(std::int64_t begin, std::int64_t end, const ops::OperandRows& tile)>;
void for_each_head_tile(const Linear& head, at::Device device, const VisitHeadTile& visit);

// logits [T, V] = hidden [T, H] · headᵀ, with softcap > 0 softcap · tanh(that / softcap). Returns log Σ exp
// of each row, [T].
at::Tensor fill_logits(const at::Tensor& hidden, const Linear& head, double softcap,
                       const ops::Backend& backend, const at::Tensor& logits);

// log Σ exp of rows that are there already, with the bits that fill_logits has. logits [T, V] -> [T].
at::Tensor log_sum_exp(const at::Tensor& logits, const ops::Backend& backend);

}  // namespace lrqat::nn
