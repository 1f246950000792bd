// Keys and values of the tokens seen so far, for generation. Without gradients.
// B sequences, T tokens, KV key-value heads, D head_dim.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <utility>
#include <vector>

namespace lrqat::nn {

class KvCacheLayer {
 public:
  // Appends k and v [B, KV, T, D] and returns all keys and all values [B, KV, length(), D], as views.
  std::pair<at::Tensor, at::Tensor> append(const at::Tensor& k, const at::Tensor& v);
  std::int64_t length() const { return length_; }
  // All keys and all values, [B, KV, length(), D]; undefined tensors where it is empty.
  std::pair<at::Tensor, at::Tensor> contents() const;
  void truncate(std::int64_t length);  // forgets the tokens from `length` on

 private:
  at::Tensor keys_;  // [B, KV, capacity, D]
  at::Tensor values_;
  std::int64_t length_ = 0;
};

class KvCache {
 public:
  explicit KvCache(std::int64_t num_layers) : layers_(static_cast<std::size_t>(num_layers)) {}

  KvCacheLayer& layer(std::int64_t index) { return layers_.at(static_cast<std::size_t>(index)); }
  const KvCacheLayer& layer(std::int64_t index) const { return layers_.at(static_cast<std::size_t>(index)); }
  std::int64_t length() const { return layers_.empty() ? 0 : layers_.front().length(); }
  void truncate(std::int64_t length);

 private:
  std::vector<KvCacheLayer> layers_;
};

}  // namespace lrqat::nn
