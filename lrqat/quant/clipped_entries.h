// The clipped entries C of a weight and what they take back out of the low-rank backward (method.md section
// 5):
//     for (n,k) in C:  g = s_n Σ_t dy[t,n] x[t,k]     dA[n,:] -= γ g B[:,k]ᵀ     dB[:,k] -= γ g A[n,:]ᵀ
// a sampled dense-dense product: T multiply-adds an entry instead of T·N·K for all.
// T tokens, N out_features, K in_features, R rank.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace lrqat::quant {

struct ClippedEntries {
  std::vector<std::int32_t> rows;  // ascending
  std::vector<std::int32_t> cols;  // ascending within a row

  std::int64_t size() const { return static_cast<std::int64_t>(rows.size()); }
  // Appends the zeros of mask (uint8 [rows, K], first row = row_begin of the weight); clipped [rows] counts
  // them.
  void append(const at::Tensor& mask, const at::Tensor& clipped, std::int64_t row_begin);
};

// x [T, K], scaled = dy ⊙ s [T, N], a [N, R], b [R, K]; grad_a [N, R] and grad_b [R, K] are corrected in
// place.
void subtract_clipped(const ClippedEntries& clipped, const at::Tensor& x, const at::Tensor& scaled,
                      const at::Tensor& a, const at::Tensor& b, double lora_scaling, at::Tensor& grad_a,
                      at::Tensor& grad_b);

}  // namespace lrqat::quant
