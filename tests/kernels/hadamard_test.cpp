#include "lrqat/kernels/hadamard.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "lrqat/kernels/hadamard_matrix.h"

namespace lrqat::kernels {
namespace {

// The constructions: Sylvester, both of Paley's, Williamson's, and what lies between.
const std::vector<std::int64_t> kOrders{1, 2, 4, 8, 12, 20, 28, 36, 44, 60, 76, 92, 108, 116, 140, 148, 172};

TEST(HadamardMatrix, RowsAreOrthogonalAndEntriesAreOnes) {
  for (const std::int64_t order : kOrders) {
    const std::vector<float> h = hadamard_matrix(order);
    ASSERT_EQ(std::ssize(h), order * order) << order;
    for (const float entry : h) ASSERT_EQ(std::abs(entry), 1.0F) << order;
    for (std::int64_t i = 0; i < order; ++i) {
      for (std::int64_t j = 0; j < order; ++j) {
        float dot = 0;
        for (std::int64_t k = 0; k < order; ++k) dot += h[i * order + k] * h[j * order + k];
        ASSERT_EQ(dot, i == j ? static_cast<float>(order) : 0.0F) << order << ": rows " << i << ", " << j;
      }
    }
  }
}

TEST(HadamardMatrix, SizesOfModelsSplitIntoASmallOrderAndAPowerOfTwo) {
  const auto expect = [](std::int64_t small, std::int64_t power) {
    const HadamardSize size = hadamard_size(small * power);
    EXPECT_EQ(size.small, small) << small * power;
    EXPECT_EQ(size.power, power) << small * power;
  };
  expect(36, 16);    // SmolLM2-135M, hidden
  expect(12, 128);   // its MLP
  expect(172, 64);   // Llama-2-7B's MLP, 11008
  expect(28, 512);   // Llama-3-8B's MLP, 14336
  expect(148, 128);  // Qwen2.5-7B's MLP, 18944
  expect(1, 4096);
  EXPECT_EQ(hadamard_size(6).small, 0);
  EXPECT_EQ(hadamard_size(0).small, 0);
  EXPECT_TRUE(hadamard_matrix(6).empty());
}

class Transform : public ::testing::TestWithParam<std::int64_t> {
 protected:
  Transform()
      : size_(hadamard_size(GetParam())), matrix_(hadamard_matrix(size_.small)), transposed_(matrix_) {
    for (std::int64_t i = 0; i < size_.small; ++i) {
      for (std::int64_t j = 0; j < size_.small; ++j)
        transposed_[i * size_.small + j] = matrix_[j * size_.small + i];
    }
    for (std::int64_t i = 0; i < GetParam(); ++i)
      x_.push_back(static_cast<float>(i * i % 113) / 50.0F - static_cast<float>(i % 7));
  }

  HadamardTransform plain() const { return {matrix_.data(), size_.small, size_.power}; }
  HadamardTransform inverse() const { return {transposed_.data(), size_.small, size_.power}; }

  HadamardSize size_;
  std::vector<float> matrix_, transposed_, x_;
};

TEST_P(Transform, EqualsItsDefinition) {
  std::vector<float> fast(x_.size()), reference(x_.size());
  hadamard_row(x_.data(), plain(), fast.data());
  hadamard_row_ref(x_.data(), plain(), reference.data());
  for (std::size_t i = 0; i < x_.size(); ++i) ASSERT_NEAR(fast[i], reference[i], 1e-4) << i;
}

TEST_P(Transform, TheTransposedOneUndoesIt) {
  std::vector<float> there(x_.size()), back(x_.size());
  hadamard_row(x_.data(), plain(), there.data());
  hadamard_row(there.data(), inverse(), back.data());
  for (std::size_t i = 0; i < x_.size(); ++i) ASSERT_NEAR(back[i], x_[i], 1e-4) << i;
}

INSTANTIATE_TEST_SUITE_P(Sizes, Transform,
                         ::testing::Values(1, 8, 16, 64, 12, 20 * 32, 36 * 16, 12 * 128, 28 * 64));

}  // namespace
}  // namespace lrqat::kernels
