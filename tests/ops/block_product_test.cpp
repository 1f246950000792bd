#include "lrqat/ops/block_product.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <array>

#include "lrqat/methods/lora_weight.h"
#include "lrqat/ops/products.h"
#include "lrqat/ops/weight_gradient.h"
#include "lrqat/quant/float_weight.h"
#include "lrqat/quant/integer_weight.h"
#include "tests/quant/drawn_weight.h"

namespace lrqat::quant {
namespace {

// Sums of K or N terms in float32, two orders: a unit of 2^-24 of the sum of magnitudes a term.
using testing::draw_weight;

double bound(const at::Tensor& a, const at::Tensor& b) {
  return static_cast<double>(a.size(1)) * 0x1p-24 * at::mm(a.abs(), b.abs()).max().item<double>();
}

at::Tensor whole(const WeightParametrization& weight) {
  return weight.make_tile(0, weight.out_features(), ops::ComputeType::float32).values;
}

at::Tensor product(const at::Tensor& x, const ops::BlockSource& weight) {
  at::Tensor y = at::empty({x.size(0), weight.out_features()});
  ops::block_multiply(x, weight, y);
  return y;
}

at::Tensor product_back(const at::Tensor& grad, const ops::BlockSource& weight,
                        ops::ClippedEntries* clipped = nullptr) {
  at::Tensor grad_x = at::empty({grad.size(0), weight.in_features()});
  ops::block_multiply_transposed(grad, weight, grad_x, /*add=*/false, clipped);
  return grad_x;
}

void expect_products(const WeightParametrization& weight, std::int64_t tokens, const std::string& what) {
  const at::Tensor w = whole(weight);
  const at::Tensor x = at::randn({tokens, w.size(1)}), dy = at::randn({tokens, w.size(0)});
  const auto source = ops::BlockSource::of(*weight.stored_form(), ops::ComputeType::float32);
  ASSERT_TRUE(source);
  const at::Tensor y = product(x, *source), dx = product_back(dy, *source);
  EXPECT_LE((y - at::mm(x, w.t())).abs().max().item<double>(), bound(x, w.t())) << what;
  EXPECT_LE((dx - at::mm(dy, w)).abs().max().item<double>(), bound(dy, w)) << what;
  // Negative control: another scale in one row is seen.
  const at::Tensor moved = w.clone();
  moved[0].mul_(1.01);
  EXPECT_GT((y - at::mm(x, moved.t())).abs().max().item<double>(), bound(x, w.t())) << what;
  if (!ops::block_products(ops::ComputeType::bfloat16) || w.size(0) % 2 != 0 || w.size(1) % 2 != 0) return;
  const auto half = ops::BlockSource::of(*weight.stored_form(), ops::ComputeType::bfloat16);
  ASSERT_TRUE(half);
  // Codes are exact: what is lost is the rounding of x, and of s·q where a row has several scales.
  const at::Tensor x16 = x.to(at::kBFloat16);
  const at::Tensor w16 = half->row_scale.defined() ? w : w.to(at::kBFloat16).to(at::kFloat);
  const at::Tensor y16 = product(x16, *half);
  EXPECT_LE((y16 - at::mm(x16.to(at::kFloat), w16.t())).abs().max().item<double>(), 2 * bound(x, w.t()))
      << what;
  const at::Tensor dy16 = (half->row_scale.defined() ? dy * half->row_scale : dy).to(at::kBFloat16);
  const at::Tensor q = half->row_scale.defined() ? w / half->row_scale.unsqueeze(1) : w16;
  const at::Tensor dx16 = product_back(dy16, *half);
  EXPECT_LE((dx16 - at::mm(dy16.to(at::kFloat), q)).abs().max().item<double>(),
            2 * bound(dy16.to(at::kFloat), q))
      << what;
}

methods::LoraWeight lora_around(const at::Tensor& weight) {
  return {std::make_shared<FloatWeight>(weight),
          {.rank = 6, .lora_alpha = 3.0},
          at::randn({weight.size(0), 6}),
          at::randn({6, weight.size(1)})};
}

TEST(BlockProduct, EqualsTheProductWithTheWholeWeight) {
  if (!ops::block_products(ops::ComputeType::float32)) GTEST_SKIP() << "no block products on this machine";
  testing::for_each_kind([](const methods::LrQatOptions& options) {
    expect_products(*draw_weight(options, {.spread = 2.0}), 5, testing::describe(options));
  });
  for (const char* granularity : {"channel", "group:32", "tensor"}) {
    const auto options = testing::options_of(4, granularity, Downcast::fixed_point8, 7);
    const auto weight = draw_weight(options, {290, 544, 2.0, 3});
    expect_products(*weight, 300, granularity);
    expect_products(IntegerWeight("codes", weight->convert()), 1, granularity);
  }
  for (const auto type : {at::kFloat, at::kBFloat16, at::kHalf})
    expect_products(FloatWeight(at::randn({130, 300}).to(type)), 131, "float");
  expect_products(FloatWeight(at::randn({7, 33})), 3, "odd sides");
  for (const auto type : {at::kFloat, at::kBFloat16})
    expect_products(lora_around(at::randn({130, 300}).to(type)), 131, "adapters");
}

bool same_lists(const ops::ClippedEntries& a, const ops::ClippedEntries& b) {
  return at::equal(a.entries, b.entries) && at::equal(a.list_ends, b.list_ends);
}

TEST(BlockProduct, ListsTheClippedEntries) {
  if (!ops::block_products(ops::ComputeType::float32)) GTEST_SKIP() << "no block products on this machine";
  const auto weight =
      draw_weight(testing::options_of(4, "channel", Downcast::fixed_point8, 7), {300, 540, 3.0, 3});
  const auto source = ops::BlockSource::of(*weight->stored_form(), ops::ComputeType::float32);
  ops::ClippedEntries on_the_way;
  product_back(at::randn({3, 300}), *source, &on_the_way);
  EXPECT_TRUE(same_lists(on_the_way, ops::find_clipped(*source, 300 * 540)));
  EXPECT_TRUE(on_the_way.complete);
  const std::int64_t count = on_the_way.count();
  std::int64_t begin = 0;
  for (std::int64_t i = 0; i < on_the_way.list_ends.size(0); ++i) {
    const std::int64_t end = on_the_way.list_ends[i].item<std::int64_t>();
    const at::Tensor rows = on_the_way.entries.slice(0, begin, end).select(1, 0);
    EXPECT_TRUE((rows.diff() >= 0).all().item<bool>());
    begin = end;
  }
  EXPECT_EQ(begin, count);
  EXPECT_EQ(static_cast<double>(count) / (300.0 * 540.0), weight->convert().clipped_fraction);
  EXPECT_GT(count, 0);
  // Exactly as many as are wanted, and one more.
  EXPECT_TRUE(same_lists(ops::find_clipped(*source, count), on_the_way));
  const at::Tensor grad = at::randn({3, 300}), expected = product_back(grad, *source);
  ops::ClippedEntries too_many{count - 1};
  EXPECT_TRUE(at::equal(product_back(grad, *source, &too_many), expected));
  EXPECT_FALSE(too_many.complete || ops::find_clipped(*source, count - 1).complete);
  EXPECT_FALSE(too_many.entries.defined() || ops::find_clipped(*source, count - 1).entries.defined());
}

// products.h gives the block products where they are, and the same values by tiles where they are not.
TEST(WeightOperand, BlocksAndTilesAgree) {
  const auto weight =
      draw_weight(testing::options_of(4, "group:32", Downcast::fixed_point8, 7), {290, 544, 2.0, 3});
  const at::Tensor w = whole(*weight), x = at::randn({9, 544}), dy = at::randn({9, 290});
  for (const bool allow : {true, false}) {
    ops::allow_block_products(allow);
    const ops::WeightOperand factor(*weight, ops::ComputeType::float32);
    EXPECT_LE((factor.multiply(x) - at::mm(x, w.t())).abs().max().item<double>(), bound(x, w.t())) << allow;
    at::Tensor dx = at::ones({9, 544});
    ops::ClippedEntries clipped;
    factor.multiply_transposed(dy, factor.gradient_operand(dy), dx, /*add=*/true, &clipped);
    EXPECT_LE((dx - 1.0 - at::mm(dy, w)).abs().max().item<double>(), 2 * bound(dy, w)) << allow;
    EXPECT_EQ(clipped.complete, allow && ops::block_products(ops::ComputeType::float32))
        << "a product over tiles finds no clipped entries and must say so";
    at::Tensor rows = at::empty({9, 100}), back = at::empty({9, 544});
    const ops::OperandRows some = factor.rows(40, 140);
    some.multiply(x, rows);
    EXPECT_LE((rows - at::mm(x, w.slice(0, 40, 140).t())).abs().max().item<double>(), bound(x, w.t()));
    some.multiply_transposed(dy.slice(1, 40, 140).clone(), back, /*add=*/false);
    EXPECT_LE((back - at::mm(dy.slice(1, 40, 140), w.slice(0, 40, 140))).abs().max().item<double>(),
              bound(dy, w));
  }
  ops::allow_block_products(true);
}

TEST(BlockProduct, SmallProducts) {
  for (const std::int64_t tokens : {1, 64, 301}) {
    const at::Tensor x = at::randn({tokens, 300}), b = at::randn({300, 5}), u = at::randn({tokens, 5});
    EXPECT_LE((ops::multiply_small(x, b) - at::mm(x, b)).abs().max().item<double>(), bound(x, b));
    EXPECT_LE((ops::multiply_transposed_small(x, {}, u) - at::mm(x.t(), u)).abs().max().item<double>(),
              bound(x.t(), u));
    if (!ops::block_products(ops::ComputeType::bfloat16)) continue;
    const at::Tensor x16 = x.to(at::kBFloat16), b16 = b.to(at::kBFloat16).to(at::kFloat),
                     u16 = u.to(at::kBFloat16).to(at::kFloat);
    EXPECT_LE((ops::multiply_small(x16, b) - at::mm(x16.to(at::kFloat), b16)).abs().max().item<double>(),
              2 * bound(x, b));
    EXPECT_LE((ops::multiply_transposed_small(x16, ops::columns_operand(x16), u) -
               at::mm(x16.t().to(at::kFloat), u16))
                  .abs()
                  .max()
                  .item<double>(),
              2 * bound(x.t(), u));
  }
}

TEST(BlockProduct, RowsOfTheGradient) {
  if (!ops::block_products(ops::ComputeType::float32)) GTEST_SKIP() << "no block products on this machine";
  for (const auto& [tokens, n, k] :
       {std::array<std::int64_t, 3>{1, 7, 33}, {301, 130, 512}, {600, 64, 300}}) {
    const at::Tensor grad = at::randn({tokens, n}), x = at::randn({tokens, k});
    const std::int64_t begin = n / 3, end = n - 1;
    const at::Tensor expected = at::mm(grad.t(), x).slice(0, begin, end);
    const at::Tensor rows = ops::GradientRows(grad, x).rows(begin, end);
    EXPECT_LE((rows - expected).abs().max().item<double>(), bound(grad.t(), x));
    EXPECT_GT((rows - at::mm(grad.t(), x).slice(0, begin + 1, end + 1)).abs().max().item<double>(),
              bound(grad.t(), x))
        << "negative control: other rows";
    if (!ops::block_products(ops::ComputeType::bfloat16)) continue;
    const at::Tensor grad16 = grad.to(at::kBFloat16), x16 = x.to(at::kBFloat16);
    const at::Tensor rounded = at::mm(grad16.to(at::kFloat).t(), x16.to(at::kFloat)).slice(0, begin, end);
    EXPECT_LE((ops::GradientRows(grad16, ops::rows_operand(x16)).rows(begin, end) - rounded)
                  .abs()
                  .max()
                  .item<double>(),
              2 * bound(grad.t(), x));
  }
}

TEST(BlockProduct, AdaptersTakeTheirGradientsWithoutThatOfTheWeight) {
  for (const bool allow : {true, false}) {
    ops::allow_block_products(allow);
    const methods::LoraWeight weight = lora_around(at::randn({130, 300}));
    const at::Tensor x = at::randn({301, 300}), grad = at::randn({301, 130});
    const auto zeros = [&] {
      return std::vector<at::Tensor>{at::zeros_like(weight.lora_a()), at::zeros_like(weight.lora_b())};
    };
    const auto found = zeros(), expected = zeros();
    ASSERT_TRUE(weight.add_gradient_from_activations({x, grad, grad, {}}, found));
    weight.add_tile_gradient(0, 130, at::mm(grad.t(), x), expected);
    for (const int i : {0, 1}) {
      const double size = expected[i].abs().max().item<double>();
      EXPECT_LE((found[i] - expected[i]).abs().max().item<double>(), 1e-5 * size) << i;
      EXPECT_GT((0.999 * found[i] - expected[i]).abs().max().item<double>(), 1e-5 * size) << "control";
    }
  }
  ops::allow_block_products(true);
}

}  // namespace
}  // namespace lrqat::quant
