#include "lrqat/nn/hadamard.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "lrqat/ops/backend.h"
#include "tests/nn/numeric_gradient.h"

namespace lrqat::nn {
namespace {

using testing::gradient_error;
using testing::kGradientTolerance;

TEST(Hadamard, KeepsLengthsAndSpreadsASingleValue) {
  const at::Tensor x = at::zeros({1, 96});
  x[0][17] = 3.0F;
  const at::Tensor y = hadamard(x);
  EXPECT_NEAR(y.norm().item<float>(), 3.0, 1e-5);
  EXPECT_TRUE(at::allclose(y.abs(), at::full({1, 96}, 3.0 / std::sqrt(96.0))));
}

TEST(Hadamard, GradientIsTheTransposedTransform) {
  at::manual_seed(0);
  for (const std::int64_t size : {8, 12, 40}) {
    const at::Tensor x = at::randn({3, size}, at::kDouble);
    EXPECT_LT(gradient_error([](const at::Tensor& v) { return hadamard(v); }, x), kGradientTolerance) << size;
  }
  const at::Tensor x = at::randn({3, 12}, at::kDouble);
  EXPECT_GT(gradient_error([](const at::Tensor& v) { return hadamard(v.detach()) + v; }, x), 0.1)
      << "negative control";
}

TEST(Hadamard, TheKernelEqualsAtensOperations) {
  at::manual_seed(1);
  for (const std::int64_t size : {16, 36, 576}) {
    const at::Tensor x = at::randn({2, 3, size});
    for (const bool transposed : {false, true}) {
      const at::Tensor kernel = ops::backend_of(x).hadamard_rows(x, transposed),
                       plain = ops::plain_backend().hadamard_rows(x, transposed);
      EXPECT_LT((kernel - plain).abs().max().item<double>(), 1e-5) << size << transposed;
    }
    EXPECT_GT((hadamard(x) - x).abs().max().item<double>(), 0.1);
  }
}

TEST(Hadamard, SaysWhichSizesItHas) {
  for (const std::int64_t size : {1, 2, 576, 1536, 11008, 14336}) EXPECT_TRUE(has_hadamard(size)) << size;
  for (const std::int64_t size : {6, 3, 18}) EXPECT_FALSE(has_hadamard(size)) << size;
}

}  // namespace
}  // namespace lrqat::nn
