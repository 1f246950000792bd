// Rotary position embedding in Hugging Face's layout: within a head of size D, element i < D/2 forms a pair
// with element i + D/2 and is rotated by the angle position · inv_freq[i].
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "lrqat/base/rope_scaling.h"

namespace lrqat::nn {

// [dimensions/2] float32, by the same float32 operations as transformers (modeling_rope_utils.py), so that
// the angles agree also at large positions. rope_type: default, linear, llama3, yarn; longrope and dynamic
// have other frequencies where a sequence of `tokens` is longer than the original context.
at::Tensor rotary_inverse_frequencies(std::int64_t dimensions, double rope_theta, const RopeScaling& scaling,
                                      std::int64_t tokens = 0);

class RotaryEmbedding {
 public:
  // `dimensions`: how many of a head's elements are rotated, from its beginning; 0: all.
  RotaryEmbedding(std::int64_t head_dim, double rope_theta, RopeScaling scaling, std::int64_t dimensions = 0);

  // x [B, T, heads, D] float32, its first token at `position` -> the rotated x, contiguous. Differentiable.
  // longrope and dynamic go by the position of the last token; keys that were cached before keep the angles
  // they got, as in transformers.
  at::Tensor apply(const at::Tensor& x, std::int64_t position) const;
  // The same for tokens at any positions [T] int64 below `end`. Without gradients.
  at::Tensor apply_at(const at::Tensor& x, const at::Tensor& positions, std::int64_t end) const;

  std::int64_t head_dim() const { return head_dim_; }

 private:
  void extend(std::int64_t positions, at::Device device) const;

  std::int64_t head_dim_;
  std::int64_t dimensions_;
  double rope_theta_;
  RopeScaling scaling_;
  // For the length seen last (0: one that changes nothing), and [positions, dimensions/2] for the positions
  // seen so far. Not safe for two threads at once.
  mutable std::int64_t length_ = 0;
  mutable at::Tensor inverse_frequencies_;
  mutable at::Tensor cos_;
  mutable at::Tensor sin_;
};

}  // namespace lrqat::nn
