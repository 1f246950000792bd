#include "lrqat/kernels/token_sums.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "lrqat/base/half.h"
#include "lrqat/base/random.h"

namespace lrqat::kernels {
namespace {

std::vector<float> noise(std::int64_t count, std::uint64_t seed) {
  Random random(seed);
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(2.0 * random.uniform() - 1.0);
  return values;
}

std::vector<std::uint16_t> bfloat16_noise(std::int64_t count, std::uint64_t seed) {
  std::vector<std::uint16_t> values;
  for (const float value : noise(count, seed)) values.push_back(float_to_bfloat16(value));
  return values;
}

// Every product of two numbers below 1 is rounded once and every partial sum, of at most T terms, is below T:
// T additions of blocks and lanes err by less than T·T/16 units of 2^-24 of one, far more than they do.
TEST(TokenSums, ColumnProductsEqualDoubleSums) {
  const std::int64_t tokens = 300, stride = 150;
  const auto grad = noise(tokens * stride, 1), output = noise(tokens * stride, 2);
  std::vector<float> sums(stride, -1.0F);
  column_products(grad.data(), output.data(), tokens, stride, 0, 70, sums.data());
  column_products(grad.data(), output.data(), tokens, stride, 70, 149, sums.data());
  for (std::int64_t n = 0; n < 149; ++n) {
    double sum = 0.0;
    for (std::int64_t t = 0; t < tokens; ++t)
      sum += static_cast<double>(grad[t * stride + n]) * output[t * stride + n];
    EXPECT_NEAR(sums[n], sum, 1e-4) << n;
  }
  EXPECT_EQ(sums[149], -1.0F);  // outside the range
}

TEST(TokenSums, ScaleToBfloat16RoundsToNearest) {
  const auto grad = noise(3 * 37, 3), scale = noise(37, 4);
  std::vector<std::uint16_t> scaled(3 * 37), plain(3 * 37);
  scale_to_bfloat16(grad.data(), scale.data(), 0, 3, 37, scaled.data());
  scale_to_bfloat16(grad.data(), nullptr, 0, 3, 37, plain.data());
  for (std::int64_t i = 0; i < 3 * 37; ++i) {
    EXPECT_EQ(scaled[i], float_to_bfloat16(grad[i] * scale[i % 37]));
    EXPECT_EQ(plain[i], float_to_bfloat16(grad[i]));
  }
}

TEST(TokenSums, PairsAndTransposition) {
  for (const std::int64_t rows : {1, 2, 7, 130}) {
    const std::int64_t cols = 75, words = (rows + 1) / 2;
    const auto in = bfloat16_noise(rows * cols, 5);
    std::vector<std::uint32_t> pairs(words * cols), columns(cols * words);
    pair_rows(in.data(), rows, cols, 0, words, pairs.data());
    transpose(pairs.data(), words, cols, 0, 64, columns.data());
    transpose(pairs.data(), words, cols, 64, cols, columns.data());
    std::vector<std::uint32_t> at_once(columns.size());
    transpose_pairs(in.data(), rows, cols, 0, 64, at_once.data());
    transpose_pairs(in.data(), rows, cols, 64, cols, at_once.data());
    EXPECT_EQ(at_once, columns);
    for (std::int64_t i = 0; i < words; ++i) {
      for (std::int64_t j = 0; j < cols; ++j) {
        const std::uint32_t high = 2 * i + 1 < rows ? in[(2 * i + 1) * cols + j] : 0;
        EXPECT_EQ(pairs[i * cols + j], in[2 * i * cols + j] | (high << 16));
        EXPECT_EQ(columns[j * words + i], pairs[i * cols + j]);
      }
    }
  }
}

TEST(TokenSums, SampledProductsEqualDoubleSums) {
  const std::int64_t tokens = 150, words = tokens / 2;
  const auto grad = bfloat16_noise(9 * tokens, 6), x = bfloat16_noise(11 * tokens, 7);
  const auto floats = [](const std::vector<std::uint16_t>& values) {
    std::vector<float> out;
    for (const std::uint16_t value : values) out.push_back(bfloat16_to_float(value));
    return out;
  };
  const auto grad32 = floats(grad), x32 = floats(x);
  const std::vector<ClippedEntry> entries{{0, 0}, {0, 10}, {3, 5}, {8, 10}};
  std::vector<float> g(entries.size()), of_pairs(entries.size());
  sampled_products(entries.data(), 4, grad32.data(), x32.data(), tokens, g.data());
  sampled_products_of_pairs(entries.data(), 4, reinterpret_cast<const std::uint32_t*>(grad.data()),
                            reinterpret_cast<const std::uint32_t*>(x.data()), words, of_pairs.data());
  for (std::size_t i = 0; i < entries.size(); ++i) {
    double sum = 0.0;
    for (std::int64_t t = 0; t < tokens; ++t)
      sum += static_cast<double>(grad32[entries[i].row * tokens + t]) * x32[entries[i].col * tokens + t];
    EXPECT_NEAR(g[i], sum, 2e-5) << i;
    EXPECT_NEAR(of_pairs[i], sum, 2e-5) << i;
  }
}

}  // namespace
}  // namespace lrqat::kernels
