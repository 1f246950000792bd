#include "lrqat/ops/target_scores.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>

#include "lrqat/kernels/softmax_rows.h"
#include "lrqat/ops/cpu_backend.h"

namespace lrqat::ops {
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

}  // namespace

TargetScores score_targets(const at::Tensor& logits, const at::Tensor& targets) {
  return backend_of(logits).score_targets(logits, targets);
}

TargetScores CpuBackend::score_targets(const at::Tensor& any_logits, const at::Tensor& any_targets) const {
  if (any_logits.scalar_type() != at::kFloat) return Backend::score_targets(any_logits, any_targets);
  const at::Tensor logits = any_logits.contiguous(), targets = any_targets.contiguous();
  const std::int64_t rows = logits.size(0), columns = logits.size(1);
  TargetScores scores{at::empty({rows}, at::kDouble), at::empty({rows}, at::kBool)};
  const float* data = logits.const_data_ptr<float>();
  const std::int64_t* target_of = targets.const_data_ptr<std::int64_t>();
  double* log_probability = scores.log_probability.data_ptr<double>();
  bool* greedy = scores.greedy.data_ptr<bool>();
  at::parallel_for(0, rows, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const float* z = data + row * columns;
      const RowSum sum = sum_row(z, columns);
      const std::int64_t target = target_of[row];
      log_probability[row] = static_cast<double>(z[target]) - sum.maximum - sum.log_sum;
      greedy[row] = z[target] == sum.maximum && std::find(z, z + target, z[target]) == z + target;
    }
  });
  return scores;
}

}  // namespace lrqat::ops
