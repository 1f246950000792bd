#include "lrqat/nn/logits.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "lrqat/ops/soft_cap.h"

namespace lrqat::nn {

at::Tensor head_logits(const Linear& head, double softcap, const at::Tensor& hidden) {
  return ops::soft_cap(head.forward(hidden), softcap);
}

std::int64_t logit_rows(std::int64_t vocab_size) {
  constexpr std::int64_t kBytes = 64 << 20;
  return std::clamp<std::int64_t>(kBytes / (4 * vocab_size), 16, 4096);
}

ops::TargetScores score_rows(const Linear& head, double softcap, const at::Tensor& hidden,
                             const at::Tensor& targets) {
  const std::int64_t rows = hidden.size(0), step = logit_rows(head.out_features());
  ops::TargetScores scores{at::empty({rows}, at::kDouble), at::empty({rows}, at::kBool)};
  for (std::int64_t begin = 0; begin < rows; begin += step) {
    const std::int64_t count = std::min(step, rows - begin);
    const ops::TargetScores chunk = ops::score_targets(
        head_logits(head, softcap, hidden.narrow(0, begin, count)), targets.narrow(0, begin, count));
    scores.log_probability.narrow(0, begin, count).copy_(chunk.log_probability);
    scores.greedy.narrow(0, begin, count).copy_(chunk.greedy);
  }
  return scores;
}

}  // namespace lrqat::nn
