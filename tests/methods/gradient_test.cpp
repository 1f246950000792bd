// The gradients of LR-QAT against float64 central differences, and the exact low-rank backward against the
// tiled form. T tokens, N out_features, K in_features, R rank.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <span>

#include "lrqat/base/error.h"
#include "lrqat/base/random.h"
#include "lrqat/nn/linear.h"
#include "lrqat/ops/low_rank_gradient.h"
#include "tests/quant/drawn_weight.h"

namespace lrqat::quant {
namespace {

using testing::draw_weight;

struct Inputs {
  at::Tensor x, a, b, delta;  // float64
};

// The layer's function in float64 with the rounding held: round(z) = z + (round(z0) - z0) with the bracket
// constant, which is what the straight-through estimator differentiates. An entry is clipped where its
// rounded value lies outside the grid, so the bounds stand a quarter outside it, and what is beyond takes the
// bound's value.
class HeldLinear {
 public:
  HeldLinear(const methods::LrQatWeight& weight, const Inputs& at_start)
      : options_(weight.options()), phi_(decode(weight)), held_(at::zeros_like(phi_)) {
    const at::Tensor term = low_rank(at_start);
    const bool integer = options_.downcast == Downcast::integer;
    held_ = integer ? term.round() - term : (phi_ + term).round() - (phi_ + term);
  }

  at::Tensor operator()(const Inputs& in) const {
    const at::Tensor z = phi_ + low_rank(in) + held_;
    const double low = options_.grid.quant_min, high = options_.grid.quant_max;
    at::Tensor q = at::where(z > high + 0.25, at::full_like(z, high), z);
    q = at::where(z < low - 0.25, at::full_like(z, low), q);
    at::Tensor s = in.delta;
    if (options_.scale.domain == ScaleDomain::log) s = s.exp();
    s = s.repeat_interleave(q.size(1) / s.size(1), 1);
    return at::mm(in.x, (s * q).t());
  }

 private:
  static at::Tensor decode(const methods::LrQatWeight& weight) {
    const Phi0 phi(weight.buffers()[0].second, weight.in_features(), weight.options().downcast,
                   weight.options().grid, "phi_0");
    return phi.decode(0, weight.out_features()).to(at::kDouble);
  }
  at::Tensor low_rank(const Inputs& in) const {
    return at::mm(in.a, in.b) * (options_.lora_alpha / static_cast<double>(options_.rank));
  }

  methods::LrQatOptions options_;
  at::Tensor phi_;
  at::Tensor held_;
};

at::Tensor central_differences(const HeldLinear& function, Inputs inputs, at::Tensor Inputs::*which,
                               const at::Tensor& grad_y) {
  constexpr double kStep =
      1e-6;  // the function is bilinear between the kinks: no truncation error to speak of
  at::Tensor moved = (inputs.*which).clone();
  inputs.*which = moved;
  at::Tensor gradient = at::empty_like(moved);
  for (std::int64_t i = 0; i < moved.numel(); ++i) {
    double& value = moved.data_ptr<double>()[i];
    const double start = value;
    value = start + kStep;
    const double up = (function(inputs) * grad_y).sum().item<double>();
    value = start - kStep;
    const double down = (function(inputs) * grad_y).sum().item<double>();
    value = start;
    gradient.data_ptr<double>()[i] = (up - down) / (2 * kStep);
  }
  return gradient;
}

double error(const at::Tensor& ours, const at::Tensor& expected) {
  return ((ours.to(at::kDouble) - expected).abs().max() / expected.abs().max()).item<double>();
}

// float32 sums over at most 48 · 5 terms, against differences that are good to 1e-16 · |L| / 1e-6 = 1e-8.
constexpr double kTolerance = 1e-5;

TEST(LrQatGradient, EqualsCentralDifferences) {
  const auto check = [](methods::LrQatOptions options, ScaleDomain domain) {
    options.scale.domain = domain;
    options.scale.type = ScaleType::float32;
    options.rank = 2;
    options.lora_alpha = 4.0;
    const auto weight =
        draw_weight(options, {.out_features = 6, .in_features = 16, .spread = 0.8, .seed = 7});
    const nn::Linear linear("layer", weight, {}, ops::ComputeType::float32);
    const at::Tensor x = at::randn({5, 16}).requires_grad_(), grad_y = at::randn({5, 6});
    std::vector<at::Tensor> inputs{x};
    for (const auto& parameter : weight->parameters()) inputs.push_back(parameter.value);
    const at::Tensor y = linear.forward(x);
    const auto grads = torch::autograd::grad({y}, inputs, {grad_y});
    const auto wide = [](const at::Tensor& t) { return t.detach().to(at::kDouble); };
    const Inputs start{wide(x), wide(inputs[1]), wide(inputs[2]), wide(inputs[3])};
    const HeldLinear held(*weight, start);
    const std::string name = testing::describe(options);
    EXPECT_LT(error(y.detach(), held(start)), kTolerance) << name;
    const std::array which{&Inputs::x, &Inputs::a, &Inputs::b, &Inputs::delta};
    for (std::size_t i = 0; i < which.size(); ++i) {
      const at::Tensor expected = central_differences(held, start, which[i], wide(grad_y));
      EXPECT_LT(error(grads[i], expected), kTolerance) << name << ", input " << i;
      EXPECT_GT(error(grads[i] * 1.001, expected), kTolerance) << "negative control " << name;
    }
  };
  testing::for_each_kind([&](const methods::LrQatOptions& options) {
    check(options, ScaleDomain::linear);
    if (options.grid.num_bits == 4) check(options, ScaleDomain::log);
  });
}

struct Gradients {
  std::vector<at::Tensor> grads;
  explicit Gradients(const methods::LrQatWeight& weight) {
    for (const auto& parameter : weight.parameters()) grads.push_back(at::zeros_like(parameter.value));
  }
};

// dA and dB of the two forms differ by float32 rounding of the sums: at most (T + K + N) units of 2^-24 of
// the sum of magnitudes, which for low rank includes the clipped entries that are added and taken out again.
TEST(LrQatGradient, ExactLowRankFormEqualsTheTiledForm) {
  Random random(11);
  double smallest_share = 1.0, largest_share = 0.0;
  for (int draw = 0; draw < 120; ++draw) {
    const auto size = [&](std::uint64_t bound) { return static_cast<std::int64_t>(1 + random.below(bound)); };
    const std::int64_t n = size(90), k = size(160), tokens = size(40);
    const int num_bits = std::array{2, 3, 4, 8}[random.below(4)];
    const Downcast downcast = testing::kDowncasts[random.below(num_bits == 8 ? 4 : 6)];
    auto options =
        testing::options_of(num_bits, random.below(3) == 0 ? "tensor" : "channel", downcast, size(9));
    options.scale.learn = random.below(4) != 0;
    const double grid = 1 << (num_bits - 1);
    const auto weight = draw_weight(options, {n, k, grid * 3.0 * random.uniform(), random.next()});
    const double share = weight->convert().clipped_fraction;
    smallest_share = std::min(smallest_share, share);
    largest_share = std::max(largest_share, share);
    const at::Tensor x = at::randn({tokens, k}), dy = at::randn({tokens, n});
    const at::Tensor values = weight->make_tile(0, n, ops::ComputeType::float32).values;
    Gradients tiled(*weight), low_rank(*weight);
    weight->add_tile_gradient(0, n, at::mm(dy.t(), x), tiled.grads);
    ASSERT_TRUE(weight->add_low_rank_gradient({x, dy, dy, at::mm(x, values.t())}, low_rank.grads, 1.0));
    const auto parameters = weight->parameters();
    const at::Tensor s = weight->scale().effective();
    const at::Tensor g = at::mm(dy.abs().t(), x.abs());
    const at::Tensor dz = g * s * 2.0;
    const std::vector<at::Tensor> magnitudes{at::mm(dz, parameters[1].value.abs().t()),
                                             at::mm(parameters[0].value.abs().t(), dz),
                                             at::mm(g, values.abs().t()).diagonal() / s.view({-1})};
    for (std::size_t i = 0; i < tiled.grads.size(); ++i) {
      double size = magnitudes[i].max().item<double>();
      if (i == 2 && options.granularity.kind == Granularity::Kind::tensor) size *= static_cast<double>(n);
      const double tolerance = static_cast<double>(tokens + k + n) * 0x1p-24 * size;
      const double found = (tiled.grads[i] - low_rank.grads[i]).abs().max().item<double>();
      EXPECT_LE(found, tolerance) << "draw " << draw << " " << testing::describe(options) << " " << n << "x"
                                  << k << " clipped " << share << ", gradient " << i;
    }
  }
  EXPECT_LT(smallest_share, 0.001);
  EXPECT_GT(largest_share, 0.55);
}

// Negative control of the test above and of the correction's worth: without it a small share of clipped
// entries moves dA visibly.
TEST(LrQatGradient, WithoutTheCorrectionTheGradientIsWrong) {
  const auto weight = draw_weight(testing::options_of(4, "channel", Downcast::float32), {64, 128, 3.0, 5});
  const double share = weight->convert().clipped_fraction;
  ASSERT_GT(share, 0.005);
  const at::Tensor x = at::randn({30, 128}), dy = at::randn({30, 64});
  Gradients tiled(*weight);
  weight->add_tile_gradient(0, 64, at::mm(dy.t(), x), tiled.grads);
  const at::Tensor b = weight->parameters()[1].value.detach();
  const at::Tensor uncorrected =
      2.0 * at::mm((dy * weight->scale().effective().view({-1})).t(), at::mm(x, b.t()));
  EXPECT_GT(error(uncorrected, tiled.grads[0].to(at::kDouble)), 0.05);
}

// Each gradient to `terms` · 2^-24 of its magnitude.
void expect_within(const Gradients& one, const Gradients& other, std::span<const double> magnitudes,
                   std::int64_t terms, const std::string& where) {
  for (std::size_t i = 0; i < magnitudes.size(); ++i) {
    EXPECT_LE((one.grads[i] - other.grads[i]).abs().max().item<double>(),
              static_cast<double>(terms) * 0x1p-24 * magnitudes[i])
        << where << ", gradient " << i;
  }
}

// The same bound for dL/dŴ in blocks, for every granularity.
TEST(LrQatGradient, BlockwiseFormEqualsTheTiledForm) {
  if (!ops::block_products(ops::ComputeType::float32)) GTEST_SKIP() << "no block products on this machine";
  Random random(12);
  double largest_share = 0.0;
  for (int draw = 0; draw < 60; ++draw) {
    const auto size = [&](std::uint64_t bound) { return static_cast<std::int64_t>(1 + random.below(bound)); };
    const std::int64_t n = size(90), k = 16 * size(40), tokens = size(300);
    const std::array granularities{"tensor", "channel", "group:8", "group:16"};
    const int num_bits = std::array{2, 3, 4, 8}[random.below(4)];
    const auto options =
        testing::options_of(num_bits, granularities[random.below(4)],
                            testing::kDowncasts[random.below(num_bits == 8 ? 4 : 6)], size(9));
    const double grid = 1 << (num_bits - 1);
    const auto weight = draw_weight(options, {n, k, grid * 3.0 * random.uniform(), random.next()});
    largest_share = std::max(largest_share, weight->convert().clipped_fraction);
    const at::Tensor x = at::randn({tokens, k}), dy = at::randn({tokens, n});
    Gradients tiled(*weight), blocks(*weight);
    weight->add_tile_gradient(0, n, at::mm(dy.t(), x), tiled.grads);
    ASSERT_TRUE(weight->add_blockwise_gradient({x, dy, dy, {}}, blocks.grads));
    const at::Tensor g = at::mm(dy.abs().t(), x.abs());
    const double dz = (g * weight->scale().effective().max()).max().item<double>() * 2.0;
    const auto parameters = weight->parameters();
    const std::array<double, 3> magnitudes{dz * parameters[1].value.abs().sum(1).max().item<double>(),
                                           dz * parameters[0].value.abs().sum(0).max().item<double>(),
                                           grid * g.sum().item<double>()};
    expect_within(tiled, blocks, magnitudes, tokens + k + n,
                  concat("draw ", draw, " ", testing::describe(options), " ", n, "x", k));
  }
  EXPECT_GT(largest_share, 0.55);
}

// Frozen scales a group of columns: dA and dB group by group, without dL/dŴ.
TEST(LrQatGradient, LowRankFormOfFrozenGroupsEqualsTheTiledForm) {
  if (!ops::block_products(ops::ComputeType::float32)) GTEST_SKIP() << "no block products on this machine";
  Random random(14);
  double largest_share = 0.0;
  for (int draw = 0; draw < 60; ++draw) {
    const auto size = [&](std::uint64_t bound) { return static_cast<std::int64_t>(1 + random.below(bound)); };
    const std::int64_t group = std::array{16, 24, 128}[random.below(3)];
    const std::int64_t n = size(90), k = group * size(6), tokens = size(300);
    const int num_bits = std::array{2, 3, 4, 8}[random.below(4)];
    auto options = testing::options_of(num_bits, "group:" + std::to_string(group),
                                       testing::kDowncasts[random.below(num_bits == 8 ? 4 : 6)], size(6));
    options.scale.learn = false;
    const double grid = 1 << (num_bits - 1);
    const auto weight = draw_weight(options, {n, k, grid * 3.0 * random.uniform(), random.next()});
    largest_share = std::max(largest_share, weight->convert().clipped_fraction);
    const at::Tensor x = at::randn({tokens, k}), dy = at::randn({tokens, n});
    Gradients tiled(*weight), low_rank(*weight);
    weight->add_tile_gradient(0, n, at::mm(dy.t(), x), tiled.grads);
    ASSERT_TRUE(weight->add_low_rank_gradient({x, dy, dy, {}}, low_rank.grads, 1.0));
    const at::Tensor g = at::mm(dy.abs().t(), x.abs());
    const double dz = (g * weight->scale().effective().max()).max().item<double>() * 2.0;
    const auto parameters = weight->parameters();
    const std::array<double, 2> magnitudes{dz * parameters[1].value.abs().sum(1).max().item<double>(),
                                           dz * parameters[0].value.abs().sum(0).max().item<double>()};
    expect_within(tiled, low_rank, magnitudes, tokens + k + n,
                  concat("draw ", draw, " ", testing::describe(options), " ", n, "x", k));
  }
  EXPECT_GT(largest_share, 0.5);
}

// In bfloat16 x, dy ⊙ s, A, B and the small products x·Bᵀ and dy·A are rounded to 8 bits: each factor moves
// by at most 2^-8 of itself, three factors a sum.
TEST(LrQatGradient, Bfloat16FormsStayWithinTheirRounding) {
  if (!ops::block_products(ops::ComputeType::bfloat16)) GTEST_SKIP() << "no fast bfloat16 on this machine";
  for (const auto& [granularity, frozen] :
       {std::pair{"channel", false}, {"tensor", false}, {"group:16", false}, {"group:32", true}}) {
    auto options = testing::options_of(4, granularity, Downcast::fixed_point8, 8);
    options.scale.learn = !frozen;
    const auto weight = draw_weight(options, {96, 320, 2.0, 5});
    const at::Tensor x = at::randn({70, 320}), dy = at::randn({70, 96});
    const at::Tensor y = at::mm(x, weight->make_tile(0, 96, ops::ComputeType::float32).values.t());
    const at::Tensor row_scale = weight->stored_form()->row_scale();
    const at::Tensor scaled = row_scale.defined() ? dy * row_scale : dy;
    const ops::LinearGradient linear{x.to(at::kBFloat16), dy, scaled.to(at::kBFloat16), y};
    if (frozen) {
      EXPECT_GT(weight->most_clipped(ops::ComputeType::bfloat16), 0) << "the form without dL/dW";
    }
    Gradients tiled(*weight), chosen(*weight), blocks(*weight);
    weight->add_tile_gradient(0, 96, at::mm(dy.t(), x), tiled.grads);
    ASSERT_TRUE(weight->add_gradient_from_activations(linear, chosen.grads));
    ASSERT_TRUE(weight->add_blockwise_gradient(linear, blocks.grads));
    for (std::size_t i = 0; i < chosen.grads.size(); ++i) {
      EXPECT_LT(error(chosen.grads[i], tiled.grads[i].to(at::kDouble)), 3 * 0x1p-8)
          << granularity << " " << i;
      EXPECT_LT(error(blocks.grads[i], tiled.grads[i].to(at::kDouble)), 3 * 0x1p-8)
          << granularity << " " << i;
    }
  }
}

TEST(LrQatGradient, LowRankFormIsRefusedWhereItDoesNotPay) {
  const at::Tensor x = at::randn({10, 48}), dy = at::randn({10, 24});
  const auto taken = [&](const methods::LrQatOptions& options, double spread) {
    const auto weight = draw_weight(options, {.spread = spread});
    const at::Tensor y = at::mm(x, weight->make_tile(0, 24, ops::ComputeType::float32).values.t());
    Gradients gradients(*weight);
    const bool low_rank = weight->add_low_rank_gradient({x, dy, dy, y}, gradients.grads, 0.02);
    if (!low_rank) {
      for (const auto& grad : gradients.grads) EXPECT_TRUE(grad.eq(0).all().item<bool>());
    }
    return low_rank;
  };
  EXPECT_TRUE(taken(testing::options_of(4, "channel", Downcast::fixed_point8), 0.1));
  EXPECT_TRUE(taken(testing::options_of(4, "tensor", Downcast::fixed_point8), 0.1));
  EXPECT_FALSE(taken(testing::options_of(4, "channel", Downcast::fixed_point8), 8.0))
      << "too much is clipped";
  EXPECT_FALSE(taken(testing::options_of(4, "group:8", Downcast::fixed_point8), 0.1)) << "group scales";
}

// Tiles add up to the whole, wherever they are cut.
TEST(LrQatGradient, TilesAddUp) {
  testing::for_each_kind([](const methods::LrQatOptions& options) {
    const auto weight = draw_weight(options, {.spread = 2.0});
    const at::Tensor g = at::randn({24, 48});
    Gradients whole(*weight), parts(*weight);
    weight->add_tile_gradient(0, 24, g.clone(), whole.grads);
    for (const auto& [begin, end] : {std::pair{0, 1}, {1, 17}, {17, 24}}) {
      weight->add_tile_gradient(begin, end, g.slice(0, begin, end).clone(), parts.grads);
    }
    for (std::size_t i = 0; i < whole.grads.size(); ++i) {
      EXPECT_LT(error(parts.grads[i], whole.grads[i].to(at::kDouble)), 1e-5) << testing::describe(options);
    }
  });
}

TEST(LrQatGradient, FrozenScaleHasNone) {
  auto options = testing::options_of(4, "channel", Downcast::fixed_point8);
  options.scale.learn = false;
  const auto weight = draw_weight(options, {});
  ASSERT_EQ(weight->parameters().size(), 2U);
  ASSERT_EQ(weight->buffers().size(), 3U);  // and the share that is clipped at the start
  EXPECT_EQ(weight->buffers()[1].first, "scale");
}

}  // namespace
}  // namespace lrqat::quant
