// What the bfloat16 compute path loses, against float64 and a derived bound. Codes are exact in bfloat16, so
// with one scale a row only the input x and the product are rounded: u = 2^-8 each (8 significant bits, half
// a unit); with group scales s·q is rounded as well. T tokens, N out_features, K in_features.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <array>

#include "lrqat/nn/linear.h"
#include "tests/quant/drawn_weight.h"

namespace lrqat::quant {
namespace {

constexpr double kUnit = 0x1p-8;

struct Setting {
  std::shared_ptr<methods::LrQatWeight> weight;
  at::Tensor x, dy, values;  // values = Ŵ in float64
};

Setting setting(const char* granularity, int bits, double spread) {
  Setting s;
  s.weight = testing::draw_weight(testing::options_of(bits, granularity, Downcast::fixed_point8),
                                  {96, 256, spread, 3});
  s.x = at::randn({20, 256});
  s.dy = at::randn({20, 96});
  s.values = s.weight->make_tile(0, 96, ops::ComputeType::float32).values.to(at::kDouble);
  return s;
}

// Largest |found - exact| / bound over the entries.
double worst(const at::Tensor& found, const at::Tensor& exact, const at::Tensor& bound) {
  return ((found.to(at::kDouble) - exact).abs() / bound).max().item<double>();
}

TEST(Bfloat16, OutputStaysWithinTheBound) {
  for (const char* granularity : {"tensor", "channel", "group:32"}) {
    for (const int bits : {2, 4, 8}) {
      const Setting s = setting(granularity, bits, 0.5);
      const nn::Linear linear("layer", s.weight, {}, ops::ComputeType::bfloat16);
      const at::Tensor x = s.x.to(at::kDouble);
      const at::Tensor exact = at::mm(x, s.values.t());
      const at::Tensor terms = at::mm(x.abs(), s.values.abs().t());
      // input (and s·q of groups), the float32 sum, the product's own rounding
      const double inputs = std::string(granularity).starts_with("group") ? 2 * kUnit + kUnit * kUnit : kUnit;
      const at::Tensor sum = terms * (inputs + 256 * 0x1p-24 * (1 + inputs));
      const at::Tensor bound = sum + (exact.abs() + sum) * kUnit;
      const double found = worst(linear.multiply(s.x), exact, bound);
      EXPECT_LE(found, 1.0) << granularity << " " << bits << " bits";
      EXPECT_GT(found, 0.005) << "negative control: the path is not float32 in disguise";
    }
  }
}

TEST(Bfloat16, InputGradientStaysWithinTheBound) {
  for (const char* granularity : {"channel", "group:32"}) {
    const Setting s = setting(granularity, 4, 0.5);
    const nn::Linear linear("layer", s.weight, {}, ops::ComputeType::bfloat16);
    const at::Tensor dy = s.dy.to(at::kDouble);
    const at::Tensor terms = at::mm(dy.abs(), s.values.abs());
    const at::Tensor exact = at::mm(dy, s.values);
    // dy·s is rounded where the scale stands apart, s·q and dy where it does not
    const at::Tensor sum = terms * (2 * kUnit + 256 * 0x1p-24 * 2);
    const at::Tensor bound = sum + (exact.abs() + sum) * kUnit;
    EXPECT_LE(worst(linear.multiply_transposed(s.dy), exact, bound), 1.0) << granularity;
  }
}

// ds = Σ dy·y / s of the low-rank form reads the bfloat16 product: the loss is at most that of y, token by
// token.
TEST(Bfloat16, ScaleGradientStaysWithinTheBound) {
  const Setting s = setting("channel", 4, 0.2);
  const nn::Linear linear("layer", s.weight, {}, ops::ComputeType::bfloat16);
  const auto parameters = s.weight->parameters();
  const at::Tensor y = linear.forward(s.x);
  const at::Tensor found = torch::autograd::grad({y}, {parameters[2].value}, {s.dy})[0].view({-1});
  const at::Tensor scale = s.weight->scale().effective().view({-1}).to(at::kDouble);
  const at::Tensor x = s.x.to(at::kDouble), dy = s.dy.to(at::kDouble);
  const at::Tensor exact = (dy * at::mm(x, s.values.t())).sum(0) / scale;
  const at::Tensor y_terms = at::mm(x.abs(), s.values.abs().t());
  const at::Tensor bound = (dy.abs() * y_terms * (2 * kUnit + kUnit * kUnit + 300 * 0x1p-24)).sum(0) / scale;
  EXPECT_LE(worst(found, exact, bound), 1.0);
  const double size = exact.abs().max().item<double>();
  EXPECT_LT((found.to(at::kDouble) - exact).abs().max().item<double>() / size, 0.01)
      << "in practice far less";
}

// dA and dB are sums of products of four factors that are rounded to bfloat16 (x, dy ⊙ s, B or A, and the
// small product between), a unit each; clipped entries are added and taken out again, which at most doubles
// the terms.
TEST(Bfloat16, AdapterGradientsStayWithinFourRoundings) {
  for (const char* granularity : {"channel", "group:32"}) {
    const Setting s = setting(granularity, 4, 1.0);
    const auto parameters = s.weight->parameters();
    const auto gradients = [&](ops::ComputeType compute) {
      const nn::Linear linear("layer", s.weight, {}, compute);
      return torch::autograd::grad({linear.forward(s.x)}, {parameters[0].value, parameters[1].value}, {s.dy});
    };
    const auto bfloat16 = gradients(ops::ComputeType::bfloat16),
               float32 = gradients(ops::ComputeType::float32);
    const at::Tensor scale = s.weight->scale().effective().amax(1, true).to(at::kDouble);
    const double scaling = s.weight->options().lora_alpha / static_cast<double>(s.weight->options().rank);
    const at::Tensor dz = scaling * scale * at::mm(s.dy.abs().t(), s.x.abs()).to(at::kDouble);
    const at::Tensor a = parameters[0].value.detach().abs().to(at::kDouble),
                     b = parameters[1].value.detach().abs().to(at::kDouble);
    const std::array<at::Tensor, 2> magnitudes{at::mm(dz, b.t()), at::mm(a.t(), dz)};
    for (int i = 0; i < 2; ++i) {
      EXPECT_LE(worst(bfloat16[i], float32[i].to(at::kDouble), 2 * 4.1 * kUnit * magnitudes[i]), 1.0)
          << granularity << " " << i;
      EXPECT_FALSE(at::equal(bfloat16[i], float32[i])) << "bfloat16 was not used";
    }
  }
}

}  // namespace
}  // namespace lrqat::quant
