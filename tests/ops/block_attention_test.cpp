#include "lrqat/ops/block_attention.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>

#include "lrqat/ops/block_product.h"

namespace lrqat::ops {
namespace {

struct Shape {
  std::int64_t heads, kv_heads, queries, keys, head_dim, window;
  double softcap = 0.0;
};

std::ostream& operator<<(std::ostream& out, const Shape& s) {
  return out << s.heads << "/" << s.kv_heads << " heads, " << s.queries << " x " << s.keys << " x "
             << s.head_dim << ", window " << s.window;
}

// Lengths at, before and past the ends of the blocks of 64 queries and 128 keys.
const Shape kShapes[] = {
    {4, 4, 64, 64, 64, 0},         {6, 2, 130, 130, 64, 0},       {3, 1, 33, 33, 8, 0},
    {2, 2, 200, 200, 24, 0},       {3, 1, 100, 171, 16, 0},       {2, 1, 300, 300, 16, 50},
    {2, 2, 70, 257, 16, 100},      {1, 1, 9, 300, 128, 128},      {2, 1, 150, 150, 16, 1},
    {4, 2, 130, 130, 64, 0, 50.0}, {2, 2, 70, 257, 16, 100, 3.0}, {2, 1, 100, 171, 16, 0, 0.5}};

// softmax(q kᵀ / sqrt(D)) v in the operands' type, as the definition says.
at::Tensor definition(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, std::int64_t window,
                      double softcap) {
  const std::int64_t group = q.size(1) / k.size(1), queries = q.size(2), keys = k.size(2);
  at::Tensor scores = at::matmul(q, k.repeat_interleave(group, 1).transpose(2, 3)) /
                      std::sqrt(static_cast<double>(q.size(3)));
  if (softcap > 0) scores = softcap * (scores / softcap).tanh();
  at::Tensor visible = at::ones({queries, keys}, at::kBool).tril(keys - queries);
  if (window > 0) visible = visible.triu(keys - queries - window + 1);
  const at::Tensor hidden = scores.masked_fill(visible.logical_not(), -1e300);
  return at::matmul(at::softmax(hidden, -1), v.repeat_interleave(group, 1));
}

struct Result {
  at::Tensor out, grad_q, grad_k, grad_v;
};

// As the model calls it: [B, T, heads, D] seen as [B, heads, T, D].
template <typename Attend>
Result run(const Shape& s, at::ScalarType type, const Attend& attend) {
  at::manual_seed(s.queries * 7 + s.keys);
  const auto leaf = [&](std::int64_t rows, std::int64_t heads) {
    return at::randn({2, rows, heads, s.head_dim}).to(type).set_requires_grad(true);
  };
  const at::Tensor q = leaf(s.queries, s.heads), k = leaf(s.keys, s.kv_heads), v = leaf(s.keys, s.kv_heads);
  const at::Tensor grad = at::randn({2, s.heads, s.queries, s.head_dim}).to(type);
  const at::Tensor out = attend(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), s.window, s.softcap);
  const auto grads = torch::autograd::grad({out}, {q, k, v}, {grad});
  return {out.detach(), grads[0], grads[1], grads[2]};
}

double relative(const at::Tensor& a, const at::Tensor& exact) {
  return (a.to(at::kDouble) - exact).norm().item<double>() / exact.norm().item<double>();
}

class BlockAttention : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!block_products(ComputeType::float32)) GTEST_SKIP() << "no block products here";
  }
};

// Sums of at most 300 float32 products, and an exponential good to two units in the last place.
constexpr double kTolerance = 1e-6;

template <ComputeType compute>
at::Tensor attend_in(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, std::int64_t window,
                     double softcap) {
  return block_attention(q, k, v, window, softcap, compute);
}
constexpr auto attend = attend_in<ComputeType::float32>;

template <typename Attend>
void expect_the_definition(const Attend& attends, double tolerance) {
  for (const Shape& shape : kShapes) {
    ASSERT_TRUE(has_block_attention(at::empty({1, 1, shape.queries, 8})));
    const Result ours = run(shape, at::kFloat, attends), exact = run(shape, at::kDouble, definition);
    EXPECT_LT(relative(ours.out, exact.out), tolerance) << shape;
    if (shape.window != 1) {  // with one key a query the probabilities are 1 and have no gradient
      EXPECT_LT(relative(ours.grad_q, exact.grad_q), tolerance) << shape;
      EXPECT_LT(relative(ours.grad_k, exact.grad_k), tolerance) << shape;
    }
    EXPECT_LT(relative(ours.grad_v, exact.grad_v), tolerance) << shape;
  }
}

TEST_F(BlockAttention, OutputAndGradientsEqualTheDefinitionInDouble) {
  expect_the_definition(attend, kTolerance);
}

// Factors of eight bits: an error of 2^-9 each, which averages in the sums.
TEST_F(BlockAttention, InBfloat16ItIsAsNearAsThatTypeAllows) {
  if (!block_products(ComputeType::bfloat16)) GTEST_SKIP() << "no fast bfloat16 here";
  expect_the_definition(attend_in<ComputeType::bfloat16>, 1e-2);
  const Result coarse = run(kShapes[0], at::kFloat, attend_in<ComputeType::bfloat16>);
  EXPECT_GT(relative(coarse.out, run(kShapes[0], at::kDouble, definition).out), 1e-4) << "float32 was used";
  const Shape odd{2, 1, 40, 40, 7, 0};
  EXPECT_TRUE(at::equal(run(odd, at::kFloat, attend_in<ComputeType::bfloat16>).grad_k,
                        run(odd, at::kFloat, attend).grad_k));
}

TEST_F(BlockAttention, AnotherWindowIsSeen) {
  Shape shape = kShapes[5];
  const Result ours = run(shape, at::kFloat, attend);
  shape.window += 1;
  const Result other = run(shape, at::kDouble, definition);
  EXPECT_GT(relative(ours.out, other.out), 100 * kTolerance);
  EXPECT_GT(relative(ours.grad_k, other.grad_k), 100 * kTolerance);
}

// Scores of some hundreds: the largest must be taken out before the exponential.
TEST_F(BlockAttention, LargeScoresStayFinite) {
  const at::Tensor q = at::randn({1, 2, 80, 16}) * 100.0, v = at::randn({1, 2, 80, 16});
  const at::Tensor out = block_attention(q, q, v, 0);
  EXPECT_LT(relative(out, definition(q.to(at::kDouble), q.to(at::kDouble), v.to(at::kDouble), 0, 0)), 1e-4);
}

TEST_F(BlockAttention, AnotherCapIsSeen) {
  Shape shape{2, 2, 70, 257, 16, 100, 3.0};
  const Result ours = run(shape, at::kFloat, attend);
  for (const double other : {0.0, 3.1}) {
    shape.softcap = other;
    const Result wrong = run(shape, at::kDouble, definition);
    EXPECT_GT(relative(ours.out, wrong.out), 100 * kTolerance);
    EXPECT_GT(relative(ours.grad_q, wrong.grad_q), 100 * kTolerance);
  }
}

// Scores of some hundreds lie on the cap, where the slope is nothing.
TEST_F(BlockAttention, CappedLargeScoresStayFinite) {
  const at::Tensor q = (at::randn({1, 2, 80, 16}) * 100.0).set_requires_grad(true),
                   v = at::randn({1, 2, 80, 16});
  const at::Tensor out = block_attention(q, q, v, 0, 30.0);
  const at::Tensor exact = q.detach().to(at::kDouble);
  EXPECT_LT(relative(out.detach(), definition(exact, exact, v.to(at::kDouble), 0, 30.0)), 1e-4);
  EXPECT_TRUE(torch::autograd::grad({out.sum()}, {q})[0].isfinite().all().item<bool>());
}

TEST_F(BlockAttention, TheSameTwice) {
  const Result first = run(kShapes[1], at::kFloat, attend), second = run(kShapes[1], at::kFloat, attend);
  EXPECT_TRUE(at::equal(first.out, second.out));
  EXPECT_TRUE(at::equal(first.grad_k, second.grad_k));
}

TEST_F(BlockAttention, WithoutBlockProductsItIsNotOffered) {
  allow_block_products(false);
  EXPECT_FALSE(has_block_attention(at::empty({1, 1, 64, 8})));
  allow_block_products(true);
  EXPECT_FALSE(has_block_attention(at::empty({1, 1, 64, 8}, at::kDouble)));
  EXPECT_FALSE(has_block_attention(at::empty({1, 1, 1, 8})));
}

}  // namespace
}  // namespace lrqat::ops
