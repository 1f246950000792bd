#include "lrqat/ops/soft_cap.h"

#include <ATen/ATen.h>

#include <cmath>
#include <limits>

namespace lrqat::ops {

at::Tensor soft_cap(const at::Tensor& x, double cap) { return cap == 0 ? x : (x / cap).tanh() * cap; }

at::Tensor soft_capped_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                 const at::Tensor& visible, double cap) {
  const std::int64_t sharing = q.size(1) / k.size(1);
  const auto for_queries = [&](const at::Tensor& x) {
    return sharing == 1 ? x : x.repeat_interleave(sharing, 1);
  };
  const double scale = 1.0 / std::sqrt(static_cast<double>(q.size(3)));
  const at::Tensor scores = soft_cap(at::matmul(q, for_queries(k).transpose(2, 3)) * scale, cap);
  const at::Tensor seen = scores.masked_fill(visible.logical_not(), -std::numeric_limits<float>::infinity());
  return at::matmul(seen.softmax(-1), for_queries(v));
}

}  // namespace lrqat::ops
