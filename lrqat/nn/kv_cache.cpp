#include "lrqat/nn/kv_cache.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "lrqat/base/error.h"

namespace lrqat::nn {
namespace {

// A buffer with room for `needed` tokens, with the first `length` ones of `buffer`. Grows by doubling.
at::Tensor with_room(const at::Tensor& buffer, std::int64_t length, std::int64_t needed,
                     const at::Tensor& like) {
  constexpr std::int64_t kSmallest = 64;
  if (buffer.defined() && buffer.size(2) >= needed) return buffer;
  const std::int64_t capacity = std::max({needed, kSmallest, buffer.defined() ? 2 * buffer.size(2) : 0});
  at::Tensor grown = at::empty({like.size(0), like.size(1), capacity, like.size(3)}, like.options());
  if (length > 0) grown.narrow(2, 0, length).copy_(buffer.narrow(2, 0, length));
  return grown;
}

}  // namespace

std::pair<at::Tensor, at::Tensor> KvCacheLayer::append(const at::Tensor& k, const at::Tensor& v) {
  LRQAT_CHECK(!k.requires_grad() && !v.requires_grad(), "a cache takes part in no gradient");
  const std::int64_t tokens = k.size(2);
  keys_ = with_room(keys_, length_, length_ + tokens, k);
  values_ = with_room(values_, length_, length_ + tokens, v);
  keys_.narrow(2, length_, tokens).copy_(k);
  values_.narrow(2, length_, tokens).copy_(v);
  length_ += tokens;
  return contents();
}

std::pair<at::Tensor, at::Tensor> KvCacheLayer::contents() const {
  if (length_ == 0) return {};
  return {keys_.narrow(2, 0, length_), values_.narrow(2, 0, length_)};
}

void KvCacheLayer::truncate(std::int64_t length) {
  LRQAT_CHECK(length >= 0 && length <= length_, length, " of ", length_);
  length_ = length;
}

void KvCache::truncate(std::int64_t length) {
  for (KvCacheLayer& layer : layers_) layer.truncate(length);
}

}  // namespace lrqat::nn
