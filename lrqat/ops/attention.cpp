#include "lrqat/ops/attention.h"

#include <ATen/ATen.h>

#include <cmath>
#include <optional>

#include "lrqat/base/error.h"
#include "lrqat/ops/block_attention.h"
#include "lrqat/ops/cpu_backend.h"
#include "lrqat/ops/soft_cap.h"

namespace lrqat::ops {

at::Tensor dot_product_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                 const std::optional<at::Tensor>& mask, bool causal) {
  const double scale = 1.0 / std::sqrt(static_cast<double>(q.size(3)));
  const bool share_keys = q.size(1) != k.size(1);
  return at::scaled_dot_product_attention(q, k, v, mask, 0.0, causal, scale, share_keys);
}

at::Tensor visible_keys(std::int64_t queries, std::int64_t keys, std::int64_t window,
                        const at::Tensor& like) {
  const at::Tensor visible = at::ones({queries, keys}, like.options().dtype(at::kBool)).tril(keys - queries);
  return window == 0 ? visible : visible.triu(keys - queries - window + 1);
}

at::Tensor causal_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            std::int64_t window, double softcap, ComputeType compute) {
  LRQAT_CHECK(k.size(2) >= q.size(2), q.size(2), " queries, ", k.size(2), " keys");
  return backend_of(q).causal_attention(q, k, v, window, softcap, compute);
}

at::Tensor CpuBackend::causal_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                        std::int64_t window, double softcap, ComputeType compute) const {
  return has_block_attention(q) ? block_attention(q, k, v, window, softcap, compute)
                                : Backend::causal_attention(q, k, v, window, softcap, compute);
}

at::Tensor masked_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            const at::Tensor& visible, double softcap) {
  if (softcap > 0) return soft_capped_attention(q, k, v, visible, softcap);
  return dot_product_attention(q, k, v, visible, /*causal=*/false);
}

}  // namespace lrqat::ops
