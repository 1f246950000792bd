// Log-probabilities of given tokens, from final hidden states.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>

#include "lrqat/eval/log_likelihood.h"
#include "lrqat/eval/windows.h"
#include "lrqat/kernels/softmax_rows.h"

namespace lrqat::eval {
namespace {

struct RowSum {
  float maximum;
  double log_sum;  // log Σ exp(z - maximum)
};

// Piece by piece: a float32 sum over the whole vocabulary would lose the many small terms beside the large
// ones, always to the same side (1e-5 of a perplexity).
RowSum sum_row(const float* z, std::int64_t columns) {
  constexpr std::int64_t kPiece = 512;
  RowSum row{z[0], 0};
  double sum = 0;
  for (std::int64_t begin = 0; begin < columns; begin += kPiece) {
    kernels::RunningLogSumExp piece;
    kernels::update_log_sum_exp(z + begin, std::min(kPiece, columns - begin), piece);
    const float maximum = std::max(row.maximum, piece.maximum);
    sum = sum * std::exp(static_cast<double>(row.maximum) - maximum) +
          piece.sum * std::exp(static_cast<double>(piece.maximum) - maximum);
    row.maximum = maximum;
  }
  row.log_sum = std::log(sum);
  return row;
}

void score_chunk_cpu(const at::Tensor& logits, const std::int64_t* targets, double* log_probability,
                     bool* greedy) {
  const std::int64_t columns = logits.size(1);
  const float* data = logits.const_data_ptr<float>();
  at::parallel_for(0, logits.size(0), 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const float* z = data + row * columns;
      const RowSum sum = sum_row(z, columns);
      const std::int64_t target = targets[row];
      log_probability[row] = static_cast<double>(z[target]) - sum.maximum - sum.log_sum;
      greedy[row] = z[target] == sum.maximum && std::find(z, z + target, z[target]) == z + target;
    }
  });
}

void score_chunk(const at::Tensor& logits, const at::Tensor& targets, at::Tensor log_probability,
                 at::Tensor greedy) {
  if (logits.is_cpu() && logits.scalar_type() == at::kFloat) {
    score_chunk_cpu(logits.contiguous(), targets.const_data_ptr<std::int64_t>(),
                    log_probability.data_ptr<double>(), greedy.data_ptr<bool>());
    return;
  }
  const at::Tensor column = targets.to(logits.device());
  const at::Tensor log_p = logits.gather(1, column.unsqueeze(1)).squeeze(1) - at::logsumexp(logits, {1});
  log_probability.copy_(log_p);
  greedy.copy_(logits.argmax(1) == column);
}

}  // namespace

RowScores score_rows(const model::Decoder& decoder, const at::Tensor& hidden, const at::Tensor& targets) {
  const std::int64_t rows = hidden.size(0), step = logit_rows(decoder.config().vocab_size);
  const at::Tensor columns = targets.contiguous();
  RowScores scores{at::empty({rows}, at::kDouble), at::empty({rows}, at::kBool)};
  for (std::int64_t begin = 0; begin < rows; begin += step) {
    const std::int64_t count = std::min(step, rows - begin);
    score_chunk(decoder.logits(hidden.narrow(0, begin, count)), columns.narrow(0, begin, count),
                scores.log_probability.narrow(0, begin, count), scores.greedy.narrow(0, begin, count));
  }
  return scores;
}

}  // namespace lrqat::eval
