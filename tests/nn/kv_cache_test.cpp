#include "lrqat/nn/kv_cache.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace lrqat::nn {
namespace {

TEST(KvCacheLayer, GrowsAndKeepsWhatItHolds) {
  at::manual_seed(0);
  KvCacheLayer layer;
  const at::Tensor k = at::randn({1, 2, 200, 4}), v = at::randn({1, 2, 200, 4});
  std::int64_t begin = 0;
  for (const std::int64_t count : {1, 62, 1, 1, 135}) {
    const auto part = [&](const at::Tensor& x) { return x.narrow(2, begin, count); };
    const auto [keys, values] = layer.append(part(k), part(v));
    begin += count;
    EXPECT_TRUE(at::equal(keys, k.narrow(2, 0, begin)));
    EXPECT_TRUE(at::equal(values, v.narrow(2, 0, begin)));
  }
  layer.truncate(10);
  const auto [keys, values] = layer.append(k.narrow(2, 150, 1), v.narrow(2, 150, 1));
  EXPECT_EQ(layer.length(), 11);
  EXPECT_TRUE(at::equal(keys.narrow(2, 0, 10), k.narrow(2, 0, 10)));
  EXPECT_TRUE(at::equal(values.narrow(2, 10, 1), v.narrow(2, 150, 1)));
}

}  // namespace
}  // namespace lrqat::nn
