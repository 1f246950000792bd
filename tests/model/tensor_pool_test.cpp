#include "lrqat/model/tensor_pool.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

namespace lrqat::model {
namespace {

constexpr std::int64_t kMiB = 1 << 20;

at::Tensor mebibytes(std::int64_t count) { return at::empty({count * kMiB}, at::kByte); }

// The program's pool is one for the whole process; every test begins with none of it in use.
class TensorPool : public testing::Test {
 protected:
  void SetUp() override {
    pool_large_tensors();
    empty_pool();
    ASSERT_EQ(pool_bytes().used, 0);
    ASSERT_EQ(pool_bytes().free, 0);
  }
};

TEST_F(TensorPool, HandsTheSameMemoryOutAgain) {
  at::Tensor first = mebibytes(3);
  void* data = first.data_ptr();
  EXPECT_EQ(pool_bytes().used, 3 * kMiB);
  first.reset();
  EXPECT_EQ(pool_bytes().used, 0);
  EXPECT_EQ(pool_bytes().free, 3 * kMiB);
  EXPECT_EQ(mebibytes(3).data_ptr(), data);
}

TEST_F(TensorPool, LeavesSmallTensorsAlone) {
  const at::Tensor small = at::empty({kMiB - 1}, at::kByte);
  EXPECT_EQ(pool_bytes().used, 0);
}

TEST_F(TensorPool, TakesABlockThatIsLittleLargerAndNoOther) {
  mebibytes(16).reset();
  EXPECT_EQ(pool_bytes().free, 16 * kMiB);
  const at::Tensor nearly = mebibytes(15);  // in the 16
  EXPECT_EQ(pool_bytes().used, 16 * kMiB);
  EXPECT_EQ(pool_bytes().free, 0);
  const at::Tensor half = mebibytes(8);
  EXPECT_EQ(pool_bytes().used, 24 * kMiB);
}

TEST_F(TensorPool, HoldsLittleMoreThanWasInUseAtOnce) {
  const std::int64_t before = pool_bytes().largest;
  at::Tensor all = mebibytes(before / kMiB + 64);  // nothing was ever larger
  const std::int64_t largest = pool_bytes().largest;
  EXPECT_EQ(largest, all.numel());
  all.reset();
  EXPECT_EQ(pool_bytes().free, largest);
  at::Tensor previous;
  for (std::int64_t size = 1; size < 40; ++size) {
    const at::Tensor piece = mebibytes(size);  // the large block, then the oldest small ones, make way
    EXPECT_LE(pool_bytes().used + pool_bytes().free, largest + kPoolSlack);
    if (size > 10) {
      EXPECT_GT(pool_bytes().free, 0) << "what fits is kept";
    }
    previous = piece;
  }
  EXPECT_EQ(pool_bytes().largest, largest);
}

TEST_F(TensorPool, ServesSeveralThreads) {
  at::parallel_for(0, 64, 1, [](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const at::Tensor tensor = at::full({kMiB / 2}, static_cast<double>(i), at::kFloat);
      EXPECT_EQ(tensor.min().item<float>(), static_cast<float>(i));
      EXPECT_EQ(tensor.max().item<float>(), static_cast<float>(i));
    }
  });
  EXPECT_EQ(pool_bytes().used, 0);
}

TEST_F(TensorPool, ResizesKeepTheirContent) {
  at::Tensor tensor = at::arange(kMiB, at::kFloat);
  tensor.resize_({4 * kMiB});
  EXPECT_TRUE(at::equal(tensor.slice(0, 0, kMiB), at::arange(kMiB, at::kFloat)));
}

TEST_F(TensorPool, SaysWhenThereIsNoMemory) {
  const std::int64_t largest = pool_bytes().largest;
  EXPECT_THROW(at::empty({std::int64_t{1} << 60}, at::kByte), c10::Error);
  EXPECT_EQ(pool_bytes().largest, largest);
}

}  // namespace
}  // namespace lrqat::model
