#include "lrqat/nn/teacher_logits.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>
#include <tuple>
#include <vector>

#include "lrqat/base/error.h"
#include "lrqat/nn/logit_tiles.h"

namespace lrqat::nn {
namespace {

TeacherLogits keep_largest(const at::Tensor& logits, std::int64_t top_k, const ops::Backend& backend) {
  const at::Tensor lse = log_sum_exp(logits, backend).unsqueeze(1);
  auto [values, ids] = at::topk(logits, top_k, 1);
  logits.scatter_(1, ids, -std::numeric_limits<float>::infinity());
  const at::Tensor rest = log_sum_exp(logits, backend);
  return {ids, values - lse, rest - lse.squeeze(1)};
}

}  // namespace

TeacherLogits keep_logits(const at::Tensor& hidden, const Linear& head, double softcap, std::int64_t top_k,
                          double temperature) {
  const std::int64_t tokens = hidden.size(0), vocabulary = head.out_features();
  LRQAT_CHECK(hidden.dim() == 2 && top_k > 0 && top_k <= vocabulary && temperature > 0);
  const ops::Backend& backend = ops::backend_of(hidden);
  const std::int64_t step = chunk_tokens(tokens, vocabulary, backend.logit_bytes(kLogitBytes));
  std::vector<at::Tensor> ids, values, rest;
  for (std::int64_t begin = 0; begin < tokens; begin += step) {
    const at::Tensor rows = hidden.slice(0, begin, std::min(begin + step, tokens));
    at::Tensor logits = at::empty({rows.size(0), vocabulary}, rows.options());
    fill_logits(rows, head, softcap, backend, logits);
    if (top_k == vocabulary) {
      values.push_back(logits);
      continue;
    }
    if (temperature != 1.0) logits.div_(temperature);
    TeacherLogits kept = keep_largest(logits, top_k, backend);
    ids.push_back(kept.ids);
    values.push_back(kept.values);
    rest.push_back(kept.rest);
  }
  if (top_k == vocabulary) return {{}, at::cat(values), {}};
  return {at::cat(ids), at::cat(values), at::cat(rest)};
}

}  // namespace lrqat::nn
