#include "lrqat/nn/embedding.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "lrqat/base/error.h"
#include "lrqat/quant/float_weight.h"

namespace lrqat::nn {
namespace {

// Rows with a scale of their own, as an integer table gives them.
class ScaledRows final : public quant::WeightParametrization {
 public:
  std::int64_t out_features() const override { return 5; }
  std::int64_t in_features() const override { return 3; }
  at::Device device() const override { return at::kCPU; }
  quant::WeightTile make_tile(std::int64_t begin, std::int64_t end, ops::ComputeType) const override {
    const at::Tensor rows = at::arange(begin, end, at::kFloat);
    return {rows.unsqueeze(1).expand({end - begin, 3}).contiguous(), rows + 1};
  }
  std::int64_t resident_bytes() const override { return 0; }
};

TEST(Embedding, LooksUpRowsOfAnyStorage) {
  at::manual_seed(0);
  const at::Tensor table = at::randn({7, 4});
  const at::Tensor tokens = at::tensor({6, 0, 0, 3}, at::kLong).view({2, 2});
  for (const auto type : {at::kFloat, at::kBFloat16, at::kHalf}) {
    const Embedding embedding(std::make_shared<quant::FloatWeight>(table.to(type)));
    const at::Tensor out = embedding.forward(tokens);
    EXPECT_EQ(out.scalar_type(), at::kFloat);
    EXPECT_TRUE(at::equal(out, table.to(type).to(at::kFloat).index({tokens})));
  }
}

TEST(Embedding, AppliesTheScaleOfARow) {
  const Embedding embedding(std::make_shared<ScaledRows>());
  const at::Tensor out = embedding.forward(at::tensor({4, 2}, at::kLong).view({1, 2}));
  EXPECT_TRUE(at::equal(out, at::tensor({20.0F, 20.0F, 20.0F, 6.0F, 6.0F, 6.0F}).view({1, 2, 3})));
}

TEST(Embedding, RefusesForeignTokens) {
  const Embedding embedding(std::make_shared<ScaledRows>());
  EXPECT_THROW(embedding.forward(at::tensor({5}, at::kLong).view({1, 1})), Error);
  EXPECT_THROW(embedding.forward(at::tensor({-1}, at::kLong).view({1, 1})), Error);
}

}  // namespace
}  // namespace lrqat::nn
