// AdamW, fused and plain, against the formula in double and against torch.optim.AdamW's numbers.
#include "lrqat/nn/optimizer.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>

#include "lrqat/base/error.h"

namespace lrqat::nn {
namespace {

// One update in float32 makes about ten roundings of 2^-24 in quantities below lr, and one of the parameter.
constexpr double kRelative = 1e-6;

at::Tensor leaf(const at::Tensor& values) { return values.to(at::kFloat).clone().requires_grad_(); }

at::Tensor random_leaf(at::IntArrayRef shape) { return leaf(at::randn(shape)); }

AdamWOptions with_fused(bool fused) {
  AdamWOptions options;
  options.fused = fused;
  return options;
}

struct ScalarAdamW {
  double parameter, m = 0, v = 0;
  int step = 0;

  void update(double gradient, double lr, double decay, const AdamWOptions& o) {
    ++step;
    parameter -= lr * decay * parameter;
    m = o.beta1 * m + (1 - o.beta1) * gradient;
    v = o.beta2 * v + (1 - o.beta2) * gradient * gradient;
    const double m_hat = m / (1 - std::pow(o.beta1, step));
    const double v_hat = v / (1 - std::pow(o.beta2, step));
    parameter -= lr * m_hat / (std::sqrt(v_hat) + o.eps);
  }
};

class AdamWForms : public ::testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(FusedAndPlain, AdamWForms, ::testing::Bool());

// Five steps of torch.optim.AdamW (torch 2.13.0, float64): lr 0.01 times kFactors, betas 0.9 and 0.95, eps
// 1e-8, gradient of step t = {0.5 + t/4, -(t + 1)/1000, 0, ±2, 1e-9}.
constexpr std::array<double, 5> kFactors{1, 0.5, 0, 1, 0.25};
constexpr std::array<double, 5> kStart{1.5, -0.25, 0.0, 3.0e-3, -40.0};
const std::array<std::array<double, 5>, 5> kNoDecay{
    {{1.4900000002, -0.24000009999900002, 0, -0.0069999999500000012, -40.00090909090909},
     {1.4850697386992908, -0.23521020071540596, 0, -0.006736842056578948, -40.001363636363635},
     {1.4850697386992908, -0.23521020071540596, 0, -0.006736842056578948, -40.001363636363635},
     {1.4753472649568748, -0.22580176467685456, 0, -0.0062105262697368423, -40.002272727272725},
     {1.4729215310836636, -0.22344763643235299, 0, -0.0067215638486814956, -40.002499999999998}}};
const std::array<std::array<double, 5>, 5> kDecayTenth{
    {{1.4885000002, -0.23975009999900002, 0, -0.0070029999500000016, -39.960909090909091},
     {1.482825488699191, -0.23484032566540647, 0, -0.0067363405566039491, -39.941383181818182},
     {1.482825488699191, -0.23484032566540647, 0, -0.0067363405566039491, -39.941383181818182},
     {1.4716201894680758, -0.22519704930118967, 0, -0.0062032884292052394, -39.902350889545453},
     {1.4688265505474976, -0.22278662179436282, 0, -0.0067127751860425917, -39.892602574550338}}};

at::Tensor gradient_of_step(int t) {
  return at::tensor({0.5F + 0.25F * static_cast<float>(t), -1e-3F * static_cast<float>(t + 1), 0.0F,
                     t % 2 == 0 ? 2.0F : -2.0F, 1e-9F});
}

TEST_P(AdamWForms, GivesTorchsNumbers) {
  for (const double decay : {0.0, 0.1}) {
    const at::Tensor parameter = leaf(at::tensor(at::ArrayRef<double>(kStart.data(), 5)));
    AdamW optimizer({{"p", parameter, 0.01, decay}}, with_fused(GetParam()));
    for (int t = 0; t < 5; ++t) {
      parameter.mutable_grad() = gradient_of_step(t);
      optimizer.step(kFactors[static_cast<std::size_t>(t)]);
      const auto& expected = (decay == 0.0 ? kNoDecay : kDecayTenth)[static_cast<std::size_t>(t)];
      for (std::int64_t i = 0; i < 5; ++i) {
        const double value = expected[static_cast<std::size_t>(i)];
        EXPECT_NEAR(parameter[i].item<double>(), value, kRelative * (std::abs(value) + 0.01))
            << t << " " << i;
      }
    }
  }
}

TEST_P(AdamWForms, FollowsTheFormulaForManySteps) {
  at::manual_seed(1);
  const AdamWOptions options = with_fused(GetParam());
  const at::Tensor parameter = random_leaf({7, 37});
  const at::Tensor flat = parameter.detach().view({-1});
  std::vector<ScalarAdamW> expected;
  for (std::int64_t i = 0; i < flat.numel(); ++i) expected.push_back({flat[i].item<double>()});
  AdamW optimizer({{"p", parameter, 3e-3, 0.05}}, options);
  for (int t = 0; t < 30; ++t) {
    parameter.mutable_grad() = at::randn_like(parameter.detach());
    const at::Tensor gradient = parameter.grad().view({-1}).clone();
    optimizer.step(1.0 - t / 30.0);
    for (std::int64_t i = 0; i < flat.numel(); ++i) {
      expected[static_cast<std::size_t>(i)].update(gradient[i].item<double>(), 3e-3 * (1.0 - t / 30.0), 0.05,
                                                   options);
    }
  }
  for (std::int64_t i = 0; i < flat.numel(); ++i) {  // 30 steps, each within kRelative of |p| + lr
    EXPECT_NEAR(flat[i].item<double>(), expected[static_cast<std::size_t>(i)].parameter, 30 * kRelative);
  }
}

TEST_P(AdamWForms, LeavesParametersWithoutGradient) {
  const at::Tensor moved = random_leaf({4});
  const at::Tensor still = random_leaf({3});
  const at::Tensor before = still.detach().clone();
  AdamW optimizer({{"moved", moved, 0.1, 0.1}, {"still", still, 0.1, 0.1}}, with_fused(GetParam()));
  moved.mutable_grad() = at::ones({4});
  optimizer.step(1.0);
  EXPECT_TRUE(at::equal(still.detach(), before));
  EXPECT_EQ(optimizer.state()[2].second.item<float>(), 1.0F);  // moved.step
  EXPECT_EQ(optimizer.state()[5].second.item<float>(), 0.0F);  // still.step
}

TEST_P(AdamWForms, TakesGradientsOfAnyLayout) {
  at::manual_seed(5);
  const at::Tensor start = at::randn({5, 6});
  const at::Tensor gradient = at::randn({6, 5});
  const at::Tensor a = leaf(start);
  const at::Tensor b = leaf(start);
  a.mutable_grad() = gradient.t();
  b.mutable_grad() = gradient.t().contiguous();
  AdamW first({{"p", a, 0.1}}, with_fused(GetParam()));
  AdamW second({{"p", b, 0.1}}, with_fused(GetParam()));
  first.step(1.0);
  second.step(1.0);
  EXPECT_TRUE(at::equal(a.detach(), b.detach()));
  EXPECT_FALSE(at::equal(a.detach(), start));
}

TEST_P(AdamWForms, ParametersHaveTheirOwnRates) {
  const at::Tensor fast = leaf(at::zeros({2}));
  const at::Tensor slow = leaf(at::zeros({2}));
  AdamW optimizer({{"fast", fast, 1e-2}, {"slow", slow, 1e-4}}, with_fused(GetParam()));
  fast.mutable_grad() = at::ones({2});
  slow.mutable_grad() = at::ones({2});
  optimizer.step(0.5);
  EXPECT_NEAR(fast[0].item<double>(), -0.5e-2, 1e-8);  // Adam's first step is lr · sign(g), less eps
  EXPECT_NEAR(slow[0].item<double>(), -0.5e-4, 1e-10);
}

TEST_P(AdamWForms, StateGoesOnBitForBit) {
  at::manual_seed(2);
  const at::Tensor start = at::randn({3, 4});
  std::vector<at::Tensor> gradients;
  for (int t = 0; t < 6; ++t) gradients.push_back(at::randn({3, 4}));
  const auto run = [&](AdamW& optimizer, const at::Tensor& parameter, int begin, int end) {
    for (int t = begin; t < end; ++t) {
      parameter.mutable_grad() = gradients[static_cast<std::size_t>(t)].clone();
      optimizer.step(0.1 * (t + 1));
    }
  };
  const at::Tensor straight = leaf(start);
  AdamW whole({{"p", straight, 0.1, 0.1}}, with_fused(GetParam()));
  run(whole, straight, 0, 6);

  const at::Tensor first = leaf(start);
  AdamW before({{"p", first, 0.1, 0.1}}, with_fused(GetParam()));
  run(before, first, 0, 3);
  const at::Tensor second = leaf(first.detach());
  AdamW after({{"p", second, 0.1, 0.1}}, with_fused(GetParam()));
  after.load_state(before.state());
  run(after, second, 3, 6);
  EXPECT_TRUE(at::equal(second.detach(), straight.detach()));

  const at::Tensor forgetful = leaf(first.detach());  // the control: without the state it comes out different
  AdamW fresh({{"p", forgetful, 0.1, 0.1}}, with_fused(GetParam()));
  run(fresh, forgetful, 3, 6);
  EXPECT_FALSE(at::equal(forgetful.detach(), straight.detach()));
}

TEST(AdamW, FusedAndPlainAgree) {
  at::manual_seed(3);
  const at::Tensor start = at::randn({64, 33});
  const at::Tensor a = leaf(start);
  const at::Tensor b = leaf(start);
  AdamW fused({{"p", a, 1e-2, 0.01}}, with_fused(true));
  AdamW plain({{"p", b, 1e-2, 0.01}}, with_fused(false));
  for (int t = 0; t < 20; ++t) {
    a.mutable_grad() = at::randn({64, 33});
    b.mutable_grad() = a.grad().clone();
    fused.step(1.0);
    plain.step(1.0);
  }
  EXPECT_LT((a - b).abs().max().item<double>(), 20 * kRelative);
  EXPECT_GT((a.detach() - start).abs().max().item<double>(), 0.05);
}

TEST(AdamW, ClipsEachGroupByItsOwnNorm) {
  const at::Tensor a = leaf(at::zeros({2})), b = leaf(at::zeros({2})), c = leaf(at::zeros({1}));
  AdamW optimizer({{"a", a, 0.1, 0.0, 0}, {"b", b, 0.1, 0.0, 2}, {"c", c, 0.1, 0.0, 2}}, {});
  a.mutable_grad() = at::tensor({0.03F, 0.04F});
  b.mutable_grad() = at::tensor({3.0F, 0.0F});
  c.mutable_grad() = at::tensor({4.0F});
  EXPECT_NEAR(optimizer.clip_grad_norm(1), std::hypot(0.05, 5.0), 1e-6);
  EXPECT_EQ(a.grad()[0].item<float>(), 0.03F) << "what scales' gradients do is no noise on the adapters'";
  EXPECT_NEAR(b.grad()[0].item<double>(), 3.0 / (5.0 + 1e-6), 1e-7);
  EXPECT_NEAR(c.grad()[0].item<double>(), 4.0 / (5.0 + 1e-6), 1e-7);
  EXPECT_NEAR(optimizer.clip_grad_norm(0.01), std::hypot(0.05, 1.0), 1e-6);
  EXPECT_NEAR(a.grad()[1].item<double>(), 0.01 * 0.04 / (0.05 + 1e-6), 1e-8);
}

TEST(AdamW, ClipsTheNormOverAllGradientsWhereAsked) {
  const at::Tensor a = leaf(at::zeros({2}));
  const at::Tensor b = leaf(at::zeros({2, 2}));
  const at::Tensor without = leaf(at::zeros({1}));
  AdamW optimizer({{"a", a, 0.1, 0.0, 0}, {"b", b, 0.1, 0.0, 1}, {"without", without, 0.1, 0.0, 1}},
                  {.clip_together = true});
  const auto set = [&] {
    a.mutable_grad() = at::tensor({3.0F, 0.0F});
    b.mutable_grad() = at::tensor({0.0F, 4.0F, 0.0F, 12.0F}).view({2, 2});
  };
  set();
  EXPECT_DOUBLE_EQ(optimizer.clip_grad_norm(0), 13.0);
  EXPECT_DOUBLE_EQ(optimizer.clip_grad_norm(14), 13.0);
  EXPECT_EQ(a.grad()[0].item<float>(), 3.0F);
  EXPECT_DOUBLE_EQ(optimizer.clip_grad_norm(1), 13.0);
  EXPECT_NEAR(a.grad()[0].item<double>(), 3.0 / (13.0 + 1e-6), 1e-7);
  EXPECT_NEAR(b.grad()[1][1].item<double>(), 12.0 / (13.0 + 1e-6), 1e-7);
  EXPECT_NEAR(optimizer.clip_grad_norm(0), 1.0, 1e-6);
}

TEST(AdamW, NormIsNotFiniteWhereAGradientIsNot) {
  const at::Tensor a = leaf(at::zeros({3}));
  AdamW optimizer({{"a", a, 0.1}}, {});
  for (const float bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    a.mutable_grad() = at::tensor({1.0F, bad, 2.0F});
    EXPECT_FALSE(std::isfinite(optimizer.clip_grad_norm(1.0)));
    EXPECT_EQ(a.grad()[0].item<float>(), 1.0F);  // left as it is, for the message about it
  }
}

TEST(AdamW, NormOfHugeGradientsIsFinite) {
  const at::Tensor a = leaf(at::zeros({2}));
  AdamW optimizer({{"a", a, 0.1}}, {});
  a.mutable_grad() = at::full({2}, 3e38F);  // its square overflows float32
  EXPECT_NEAR(optimizer.clip_grad_norm(1.0) / 4.2426e38, 1.0, 1e-4);
}

TEST(AdamW, ZeroGradForgets) {
  const at::Tensor a = leaf(at::zeros({2}));
  AdamW optimizer({{"a", a, 0.1}}, {});
  a.mutable_grad() = at::ones({2});
  optimizer.zero_grad();
  EXPECT_FALSE(a.grad().defined());
}

TEST(AdamW, StateHasNamesAndSizes) {
  AdamW optimizer({{"x.lora_a", leaf(at::zeros({3, 2})), 0.1}}, {});
  const auto state = optimizer.state();
  ASSERT_EQ(state.size(), 3U);
  EXPECT_EQ(state[0].first, "x.lora_a.exp_avg");
  EXPECT_EQ(state[1].first, "x.lora_a.exp_avg_sq");
  EXPECT_EQ(state[2].first, "x.lora_a.step");
  EXPECT_EQ(state[0].second.sizes(), at::IntArrayRef({3, 2}));
  EXPECT_EQ(optimizer.state_bytes(), 4 * (6 + 6 + 1));
}

std::string load_error(AdamW& optimizer, const std::vector<std::pair<std::string, at::Tensor>>& state) {
  try {
    optimizer.load_state(state);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(AdamW, NamesWhatIsWrongWithAState) {
  AdamW optimizer({{"p", leaf(at::zeros({3})), 0.1}}, {});
  auto state = optimizer.state();
  state[1].second = at::zeros({4});
  EXPECT_NE(load_error(optimizer, state).find("p.exp_avg_sq has shape [4], expected [3]"), std::string::npos);
  state.erase(state.begin() + 1);
  EXPECT_NE(load_error(optimizer, state).find("p.exp_avg_sq is missing"), std::string::npos);
}

TEST(AdamW, RefusesImpossibleOptions) {
  const auto make = [](double beta1, double eps, double lr) {
    AdamWOptions options;
    options.beta1 = beta1;
    options.eps = eps;
    AdamW({{"p", leaf(at::zeros({1})), lr}}, options);
  };
  EXPECT_NO_THROW(make(0.9, 1e-8, 0.1));
  EXPECT_THROW(make(1.0, 1e-8, 0.1), UsageError);
  EXPECT_THROW(make(0.9, 0.0, 0.1), UsageError);
  EXPECT_THROW(make(0.9, 1e-8, -0.1), UsageError);
  EXPECT_THROW(make(0.9, 1e-8, std::nan("")), UsageError);
}

}  // namespace
}  // namespace lrqat::nn
