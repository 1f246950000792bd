#include "lrqat/nn/logit_tiles.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace lrqat::nn {

std::int64_t chunk_tokens(std::int64_t tokens, std::int64_t vocabulary, std::int64_t bytes) {
  const std::int64_t most = std::max<std::int64_t>(bytes / (4 * vocabulary), 16);
  const std::int64_t chunks = (tokens + most - 1) / most;
  return (tokens + chunks - 1) / chunks;
}

void for_each_head_tile(const Linear& head, at::Device device, const VisitHeadTile& visit) {
  const ops::WeightOperand operand(*head.weight(), head.compute());
  const std::int64_t step = ops::backend_of(device).logit_tile_columns(), vocabulary = head.out_features();
  for (std::int64_t begin = 0; begin < vocabulary; begin += step) {
    const std::int64_t end = std::min(begin + step, vocabulary);
    visit(begin, end, operand.rows(begin, end));
  }
}

at::Tensor fill_logits(const at::Tensor& hidden, const Linear& head, double softcap,
                       const ops::Backend& backend, const at::Tensor& logits) {
  const at::Tensor operand = ops::in_compute_type(hidden, head.compute());
  const auto sums = backend.row_log_sum_exp(hidden.size(0));
  for_each_head_tile(head, hidden.device(),
                     [&](std::int64_t begin, std::int64_t end, const ops::OperandRows& tile) {
                       at::Tensor part = logits.slice(1, begin, end);
                       tile.multiply(operand, part);
                       if (head.bias().defined()) part.add_(head.bias().slice(0, begin, end));
                       if (softcap > 0) part.div_(softcap).tanh_().mul_(softcap);
                       sums->add(part);
                     });
  return sums->result(logits);
}

at::Tensor log_sum_exp(const at::Tensor& logits, const ops::Backend& backend) {
  const auto sums = backend.row_log_sum_exp(logits.size(0));
  const std::int64_t step = ops::backend_of(logits).logit_tile_columns();
  for (std::int64_t begin = 0; begin < logits.size(1); begin += step)
    sums->add(logits.slice(1, begin, std::min(begin + step, logits.size(1))));
  return sums->result(logits);
}

}  // namespace lrqat::nn
