// Every method besides LR-QAT's plain form (which has tests of its own): what was trained is what is shipped,
// tiles do not matter, and the gradients of asymmetric grids. N out_features, K in_features, R rank.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "lrqat/base/error.h"
#include "lrqat/methods/l4q_weight.h"
#include "lrqat/methods/lora_weight.h"
#include "lrqat/methods/lr_qat_start.h"
#include "lrqat/methods/lsq_weight.h"
#include "lrqat/methods/peqa_weight.h"
#include "lrqat/quant/integer_weight.h"
#include "tests/quant/drawn_weight.h"
#include "tests/quant/expect_error.h"

namespace lrqat::quant {
namespace {

using testing::expect_error;
using WeightPtr = std::shared_ptr<WeightParametrization>;

struct Kind {
  std::string name;
  int num_bits;
  std::string granularity;
  std::function<WeightPtr(const at::Tensor& weight)> prepare;
};

// Every method, width and granularity, symmetric and not.
std::vector<Kind> kinds() {
  std::vector<Kind> all;
  for (const int bits : {2, 3, 4, 8}) {
    for (const char* granularity : {"tensor", "channel", "group:8"}) {
      const Grid grid = Grid::signed_symmetric(bits);
      const Granularity kind = Granularity::parse(granularity);
      const auto add = [&](const std::string& name, const std::function<WeightPtr(const at::Tensor&)>& make) {
        all.push_back({concat(name, ", ", bits, " bits, ", granularity), bits, granularity, make});
      };
      for (const bool symmetric : {true, false}) {
        const std::string suffix = symmetric ? "" : " asymmetric";
        add("lsq" + suffix, [=](const at::Tensor& w) {
          return methods::LsqWeight::prepare("layer", w, {grid, kind, {}, symmetric}, {});
        });
        add("peqa" + suffix, [=](const at::Tensor& w) {
          return methods::PeqaWeight::prepare("layer", w, {grid, kind, {}, symmetric}, {});
        });
        add("l4q" + suffix, [=](const at::Tensor& w) {
          methods::L4qOptions options{grid, kind};
          options.learn_offset = options.asymmetric_start = !symmetric;
          return methods::L4qWeight::prepare("layer", w, options, {}, 1);
        });
        if (symmetric) continue;
        for (const Downcast downcast : testing::kDowncasts) {
          if (downcast == Downcast::int4 && bits > 4) continue;
          add("lr-qat asymmetric " + downcast_name(downcast), [=](const at::Tensor& w) {
            return methods::start_lr_qat("layer", w, testing::options_of(bits, granularity, downcast),
                                         {false}, {}, 1);
          });
        }
      }
    }
  }
  return all;
}

// A weight whose grid does not lie around zero, with parameters as after some training.
WeightPtr drawn(const Kind& kind, std::int64_t rows, std::int64_t cols, std::uint64_t seed) {
  at::manual_seed(seed);
  const WeightPtr weight = kind.prepare(at::randn({rows, cols}) * 0.05 + 0.03);
  const at::NoGradGuard no_grad;
  for (const Parameter& parameter : weight->parameters()) {
    const at::Tensor noise = at::randn_like(parameter.value);
    at::Tensor value = parameter.value;
    if (parameter.name == "scale") {
      value.mul_(1.0 + 0.1 * noise.clamp(-2, 2));
    } else if (parameter.name == "zero_float") {
      value.add_(2.0 * noise);
    } else {
      value.add_(0.05 * noise);
    }
  }
  return weight;
}

void expect_equal_tiles(const WeightTile& a, const WeightTile& b, const std::string& name) {
  EXPECT_TRUE(at::equal(a.values, b.values)) << name;
  ASSERT_EQ(a.row_scale.defined(), b.row_scale.defined()) << name;
  if (a.row_scale.defined()) {
    EXPECT_TRUE(at::equal(a.row_scale, b.row_scale)) << name;
  }
}

TEST(Methods, ConvertGivesTheForwardPassBitForBit) {
  std::uint64_t seed = 1;
  for (const Kind& kind : kinds()) {
    for (const std::int64_t cols : {8, 72, 136}) {
      const WeightPtr trained = drawn(kind, 37, cols, ++seed);
      const IntegerWeight shipped("layer", trained->convert());
      for (const ops::ComputeType compute : {ops::ComputeType::float32, ops::ComputeType::bfloat16}) {
        expect_equal_tiles(trained->make_tile(0, 37, compute), shipped.make_tile(0, 37, compute), kind.name);
        expect_equal_tiles(trained->make_tile(11, 30, compute), shipped.make_tile(11, 30, compute),
                           kind.name);
      }
      const QuantizedWeight once = trained->convert(), again = shipped.convert();
      EXPECT_TRUE(at::equal(once.weight_int, again.weight_int)) << kind.name;
      EXPECT_EQ(once.clipped_fraction, again.clipped_fraction) << kind.name;
      EXPECT_EQ(once.zero_point.defined(), again.zero_point.defined()) << kind.name;
    }
  }
}

// A tile is a slice of the whole, whatever its rows and the number of threads.
TEST(Methods, TilesAndThreadsDoNotMatter) {
  const int threads = at::get_num_threads();
  for (const Kind& kind : kinds()) {
    const WeightPtr weight = drawn(kind, 70, 72, 5);
    at::set_num_threads(1);
    const at::Tensor whole = weight->make_tile(0, 70, ops::ComputeType::float32).values;
    at::set_num_threads(3);
    EXPECT_TRUE(at::equal(weight->make_tile(0, 70, ops::ComputeType::float32).values, whole)) << kind.name;
    EXPECT_TRUE(at::equal(weight->make_tile(3, 41, ops::ComputeType::float32).values, whole.slice(0, 3, 41)))
        << kind.name;
  }
  at::set_num_threads(threads);
}

// Gradients of tiles add up to the gradient of the whole.
TEST(Methods, GradientsOfTilesAddUp) {
  for (const Kind& kind : kinds()) {
    const WeightPtr weight = drawn(kind, 40, 48, 6);
    const at::Tensor g = at::randn({40, 48});
    const auto gradients = [&](const std::vector<std::int64_t>& cuts) {
      std::vector<at::Tensor> grads;
      for (const Parameter& parameter : weight->parameters())
        grads.push_back(at::zeros_like(parameter.value));
      for (std::size_t i = 0; i + 1 < cuts.size(); ++i) {
        weight->add_tile_gradient(cuts[i], cuts[i + 1], g.slice(0, cuts[i], cuts[i + 1]).clone(), grads);
      }
      return grads;
    };
    const auto whole = gradients({0, 40}), parts = gradients({0, 7, 29, 40});
    for (std::size_t i = 0; i < whole.size(); ++i) {
      EXPECT_GT(whole[i].abs().max().item<float>(), 0.0F) << kind.name;
      // float32 sums in another order
      EXPECT_TRUE(at::allclose(whole[i], parts[i], 1e-4, 1e-4 * whole[i].abs().max().item<double>()))
          << kind.name;
    }
  }
}

// Asymmetric LR-QAT and PEQA: ds = Σ G ⊙ (q - z), dA = γ (G ⊙ s ⊙ M) Bᵀ, in float64.
TEST(Methods, AsymmetricGradients) {
  for (const Kind& kind : kinds()) {
    if (!kind.name.starts_with("lr-qat") && !kind.name.starts_with("peqa asymmetric")) continue;
    const WeightPtr weight = drawn(kind, 24, 48, 9);
    const QuantizedWeight converted = weight->convert();
    const at::Tensor g = at::randn({24, 48});
    std::vector<at::Tensor> grads;
    for (const Parameter& parameter : weight->parameters()) grads.push_back(at::zeros_like(parameter.value));
    weight->add_tile_gradient(0, 24, g.clone(), grads);
    const auto rows = static_cast<std::int64_t>(converted.scale.numel());
    const at::Tensor q = converted.weight_int.to(at::kDouble).view({rows, -1}) -
                         converted.zero_point.to(at::kDouble).view({-1, 1});
    const at::Tensor terms = g.to(at::kDouble).view({rows, -1}) * q;
    const at::Tensor ds = terms.sum(1);
    const double size = terms.square().sum(1).max().sqrt().item<double>();
    EXPECT_LT((grads.back().view({-1}) - ds).abs().max().item<double>(), 2e-5 * size) << kind.name;
    const at::Tensor wrong = (g.view({rows, -1}) * converted.weight_int.view({rows, -1})).sum(1);
    EXPECT_GT((grads.back().view({-1}) - wrong).abs().max().item<double>(), 2e-5 * size)
        << "negative control, zero points forgotten: " << kind.name;
  }
}

// The form without dL/dŴ is the tiled one on asymmetric grids too: y holds the zero points.
TEST(Methods, AsymmetricLowRankGradientEqualsTheTiledOne) {
  for (const Kind& kind : kinds()) {
    if (!kind.name.starts_with("lr-qat") || kind.granularity == "group:8") continue;
    const WeightPtr weight = drawn(kind, 24, 48, 9);
    const at::Tensor x = at::randn({40, 48}), dy = at::randn({40, 24});
    const at::Tensor y = at::mm(x, weight->make_tile(0, 24, ops::ComputeType::float32).values.t());
    std::vector<at::Tensor> exact, tiled;
    for (auto* grads : {&exact, &tiled}) {
      for (const Parameter& parameter : weight->parameters())
        grads->push_back(at::zeros_like(parameter.value));
    }
    ASSERT_TRUE(
        dynamic_cast<const methods::LrQatWeight&>(*weight).add_low_rank_gradient({x, dy, dy, y}, exact, 1.0));
    weight->add_tile_gradient(0, 24, at::mm(dy.t(), x), tiled);
    for (std::size_t i = 0; i < exact.size(); ++i) {
      const double size = tiled[i].abs().max().item<double>();
      EXPECT_LT((exact[i] - tiled[i]).abs().max().item<double>(), 5e-5 * size) << kind.name << ", " << i;
    }
  }
}

// A grid that covers [min, max] is finer than one around zero where the weights lie to one side.
TEST(Methods, AsymmetricGridsAreNearerToOneSidedWeights) {
  at::manual_seed(3);
  const at::Tensor weight = at::rand({16, 64}) * 0.1 + 0.02;
  const auto error = [&](const QuantizedWeight& q) {
    return (IntegerWeight("layer", q).make_tile(0, 16, ops::ComputeType::float32).values - weight)
        .abs()
        .mean()
        .item<double>();
  };
  for (const char* range : {"minmax", "lp:2"}) {
    for (const int bits : {2, 3, 4}) {
      const QuantSpec symmetric{.grid = Grid::signed_symmetric(bits)},
          asymmetric{.grid = symmetric.grid, .symmetric = false};
      const auto estimator = RangeEstimator::parse(range);
      EXPECT_LT(error(round_to_nearest("layer", weight, asymmetric, estimator)),
                0.9 * error(round_to_nearest("layer", weight, symmetric, estimator)))
          << range << ", " << bits << " bits";
    }
  }
}

TEST(Methods, WhatTheyRefuse) {
  const at::Tensor w = at::randn({4, 16});
  const Granularity channel = Granularity::parse("channel");
  const Grid grid = Grid::signed_symmetric(4);
  methods::L4qOptions l4q{grid, channel};
  l4q.asymmetric_start = true;
  expect_error<UsageError>([&] { methods::L4qWeight::prepare("layer", w, l4q, {}, 1); },
                           {"`learn-offset` true"});
  l4q.asymmetric_start = false;
  l4q.storage = at::kHalf;
  expect_error<Error>([&] { methods::L4qWeight::prepare("layer", w * 1e6, l4q, {}, 1); },
                      {"layer", "bfloat16"});
  expect_error<UsageError>([&] { RangeEstimator::parse("l4q").estimate_asymmetric(w, grid, channel); },
                           {"l4q", "minmax"});
  methods::LrQatStart start;
  start.faithful = true;
  start.svd_steps = 1;
  expect_error<UsageError>(
      [&] {
        methods::start_lr_qat("layer", w, testing::options_of(4, "channel", Downcast::int4), start, {}, 1);
      },
      {"`faithful-downcast`", "svd"});
  QuantizedWeight shifted = round_to_nearest("layer", w, {grid, channel});
  shifted.zero_point = at::zeros({2, 1}, at::kChar);
  expect_error<Error>([&] { IntegerWeight("layer", shifted); }, {"layer", "zero_point", "[2, 1]", "[4, 1]"});
}

// --- where LR-QAT starts

TEST(LrQatStart, FaithfulDowncastEqualsRounding) {
  at::manual_seed(8);
  for (const int bits : {2, 3, 4, 8}) {
    for (const Downcast downcast : testing::kDowncasts) {
      if (downcast == Downcast::int4 && bits > 4) continue;
      const auto options = testing::options_of(bits, "channel", downcast);
      const at::Tensor weight = at::randn({64, 512});
      const RangeEstimator estimator = RangeEstimator::parse("lp:3.5");
      const auto rounded = round_to_nearest("layer", weight, options.spec(/*symmetric=*/true), estimator);
      const auto faithful = methods::start_lr_qat("layer", weight, options, {true, true}, estimator, 1);
      EXPECT_TRUE(at::equal(faithful->convert().weight_int, rounded.weight_int))
          << testing::describe(options);
      const auto plain = methods::start_lr_qat("layer", weight, options, {}, estimator, 1);
      const auto differing = plain->convert().weight_int.ne(rounded.weight_int).sum().item<std::int64_t>();
      if (downcast == Downcast::fixed_point8 && bits < 8) {
        EXPECT_GT(differing, 0) << "negative control: the plain form rounds twice";
      }
      // Nothing moves by more than one unit.
      const at::Tensor a = faithful->buffers()[0].second, b = plain->buffers()[0].second;
      EXPECT_EQ(a.ne(b).sum().item<std::int64_t>(), differing) << testing::describe(options);
    }
  }
}

TEST(LrQatStart, PlainFormIsPrepare) {
  at::manual_seed(9);
  const at::Tensor weight = at::randn({24, 48});
  const auto options = testing::options_of(4, "group:8", Downcast::fixed_point8);
  const auto a = methods::LrQatWeight::prepare("layer", weight, options, {}, 3);
  const auto b = methods::start_lr_qat("layer", weight, options, {}, {}, 3);
  EXPECT_TRUE(at::equal(a->buffers()[0].second, b->buffers()[0].second));
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_TRUE(at::equal(a->parameters()[i].value, b->parameters()[i].value)) << i;
  }
}

// Φ0 + γAB holds W/s0 better than Φ0 alone where φ loses the fraction; more LoftQ steps do not harm.
TEST(LrQatStart, SvdKeepsWhatTheDowncastLoses) {
  at::manual_seed(10);
  const at::Tensor weight = at::randn({96, 64});
  for (const bool symmetric : {true, false}) {
    auto options = testing::options_of(2, "channel", Downcast::int4, 16);
    const auto residue = [&](int steps) {
      const auto start = methods::start_lr_qat("layer", weight, options, {symmetric, false, steps}, {}, 1);
      const auto converted = start->convert();
      at::Tensor u = weight / converted.scale;
      if (!symmetric) u = u + converted.zero_point;
      const Phi0 phi(start->buffers()[0].second, 64, options.downcast, options.grid, "phi_0");
      const double scaling = options.lora_alpha / 16.0;
      const at::Tensor z =
          phi.decode(0, 96) + scaling * at::mm(start->parameters()[0].value, start->parameters()[1].value);
      return (z - u).detach().square().sum().item<double>();
    };
    // 16 of 64 directions of noise, the largest ones: more than a quarter of its energy.
    EXPECT_LT(residue(1), 0.75 * residue(0));
    EXPECT_LT(residue(3), 0.8 * residue(0));
  }
}

}  // namespace
}  // namespace lrqat::quant
