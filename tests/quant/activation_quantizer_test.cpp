// What the golden vectors do not say of activation quantizers: straight-through gradients against numbers,
// points of a model, values that are not finite.
#include "lrqat/quant/activation_quantizer.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <limits>

#include "lrqat/base/error.h"

namespace lrqat::quant {
namespace {

at::Tensor drawn(std::int64_t seed, at::IntArrayRef shape) {
  at::manual_seed(seed);
  return at::randn(shape) * 3.0 + 0.5;
}

// The function whose derivative "straight through" means: round(u) = u + constant, scale and zero point
// constant. Its central differences in float64, weighted by dy. Where codes are whole, `margin` moves the
// kink of the clip from the end of the grid, which counts as inside, to between it and the first code
// outside.
at::Tensor numeric_gradient(const at::Tensor& x, const QuantizedActivation& at_x, int largest,
                            const at::Tensor& dy, double margin) {
  const at::Tensor scale = at_x.scale.to(at::kDouble), zero = at_x.zero_point.to(at::kDouble);
  const at::Tensor u0 = x.to(at::kDouble) / scale, rounding = u0.round() - u0;
  const auto y = [&](const at::Tensor& moved) {
    return ((moved / scale + rounding + zero).clamp(-margin, largest + margin) - zero) * scale;
  };
  constexpr double kStep = 1e-6;  // the function is piecewise linear: only rounding errors, 1e-10
  return (y(x.to(at::kDouble) + kStep) - y(x.to(at::kDouble) - kStep)) / (2 * kStep) * dy.to(at::kDouble);
}

double largest_difference(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

TEST(ActivationQuantizer, PerTokenGradientsAreStraightThrough) {
  for (const int bits : {4, 8}) {
    const at::Tensor x = drawn(bits, {3, 5, 40}).requires_grad_(), dy = drawn(9, {3, 5, 40});
    const at::Tensor gradient = torch::autograd::grad({fake_quantize_per_token(x, bits)}, {x}, {dy})[0];
    const QuantizedActivation parts = quantize_per_token(x, bits);
    const at::Tensor numeric = numeric_gradient(x.detach(), parts, (1 << bits) - 1, dy, 0.0);
    EXPECT_LT(largest_difference(gradient, numeric), 1e-6) << bits;
    EXPECT_GT(largest_difference(dy, numeric), 1e-2) << "control: each token has a clipped end";
  }
}

TEST(ActivationQuantizer, StaticGradientsAreStraightThrough) {
  ActivationQuantizer quantizer("point", 4, ActivationRange::fixed);
  quantizer.observe(true);
  quantizer.forward(drawn(1, {4, 8, 16}));
  quantizer.observe(false);
  const at::Tensor x = (drawn(2, {4, 8, 16}) * 1.5).requires_grad_(), dy = drawn(3, {4, 8, 16});
  const at::Tensor y = quantizer.forward(x);
  const QuantizedActivation parts = quantizer.static_range().quantize(x);
  EXPECT_TRUE(at::equal(y, parts.values));
  EXPECT_GT(parts.mask.logical_not().sum().item<std::int64_t>(), 0) << "something is clipped";
  const at::Tensor gradient = torch::autograd::grad({y}, {x}, {dy})[0];
  EXPECT_LT(largest_difference(gradient, numeric_gradient(x.detach(), parts, 15, dy, 0.25)), 1e-6);
}

// The fused pass gives the bits of the form with every part, with a gradient and without, strided or not.
TEST(ActivationQuantizer, AllWaysGiveTheSameBits) {
  for (const int bits : {4, 8}) {
    const at::Tensor whole = drawn(5, {4, 6, 10, 33}), x = whole.transpose(1, 2);
    const at::Tensor expected = quantize_per_token(x, bits).values;
    EXPECT_TRUE(at::equal(fake_quantize_per_token(x, bits), expected));
    const at::Tensor leaf = x.clone().requires_grad_();
    EXPECT_TRUE(at::equal(fake_quantize_per_token(leaf, bits), expected));
    const at::NoGradGuard no_grad;
    EXPECT_FALSE(fake_quantize_per_token(leaf, bits).requires_grad());
  }
  EXPECT_FALSE(at::equal(fake_quantize_per_token(drawn(5, {4, 33}), 4),
                         fake_quantize_per_token(drawn(5, {4, 33}), 8)));
}

TEST(ActivationQuantizer, ATokenKeepsItsCodesWhateverStandsBesideIt) {
  const at::Tensor x = drawn(6, {5, 24});
  const at::Tensor together = fake_quantize_per_token(x, 4);
  for (int token = 0; token < 5; ++token) {
    EXPECT_TRUE(at::equal(fake_quantize_per_token(x[token], 4), together[token]));
    EXPECT_LE(std::get<0>(at::_unique(together[token])).numel(), 16);
  }
}

TEST(ActivationQuantizer, NamesWhatItKeepsAndWhatItLearns) {
  ActivationQuantizer dynamic("a.b", 8, ActivationRange::dynamic);
  EXPECT_TRUE(dynamic.parameters().empty() && dynamic.buffers().empty() && dynamic.is_dynamic());
  ActivationQuantizer quantizer("a.b", 8, ActivationRange::fixed);
  EXPECT_THROW(quantizer.forward(drawn(1, {2, 3})), std::exception);  // no range yet
  quantizer.observe(true);
  quantizer.forward(drawn(1, {2, 30}));
  quantizer.observe(false);
  ASSERT_EQ(quantizer.buffers().size(), 2U);
  EXPECT_EQ(quantizer.buffers()[0].first, "a.b.scale");
  EXPECT_TRUE(quantizer.parameters().empty());
  quantizer.learn();
  ASSERT_EQ(quantizer.parameters().size(), 2U);
  EXPECT_EQ(quantizer.parameters()[1].name, "a.b.zero_float");
  EXPECT_TRUE(quantizer.buffers().empty());
  const at::Tensor x = drawn(4, {2, 30});
  const auto grads = torch::autograd::grad({quantizer.forward(x).sum()}, {quantizer.parameters()[0].value});
  EXPECT_TRUE(grads[0].isfinite().all().item<bool>());
}

TEST(ActivationQuantizer, WhatIsNotFiniteStaysSo) {
  at::Tensor x = drawn(7, {2, 50});
  x[1][3] = std::numeric_limits<float>::quiet_NaN();
  const at::Tensor y = fake_quantize_per_token(x, 8);
  EXPECT_TRUE(y[0].isfinite().all().item<bool>());
  EXPECT_FALSE(y[1][3].isfinite().item<bool>());
}

TEST(ActivationOptions, AreNamedAsPapersDo) {
  EXPECT_EQ(activation_setting_name({.activation_bits = 8, .kv_bits = 4}), "A8KV4");
  EXPECT_FALSE(ActivationOptions{}.any());
  EXPECT_TRUE((ActivationOptions{.kv_bits = 4}.any()));
  EXPECT_EQ(parse_activation_range("static"), ActivationRange::fixed);
  EXPECT_THROW(parse_activation_range("fixed"), UsageError);
  EXPECT_THROW(check_activation_bits("kv-bits", 5), UsageError);
}

}  // namespace
}  // namespace lrqat::quant
