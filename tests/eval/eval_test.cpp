// Perplexity, divergence and windows on the fixture models, against the definitions computed from all logits
// in float64.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "lrqat/base/error.h"
#include "lrqat/base/random.h"
#include "lrqat/eval/divergence.h"
#include "lrqat/eval/perplexity.h"
#include "lrqat/model/load.h"
#include "lrqat/model/prepare.h"
#include "lrqat/quant/float_weight.h"
#include "tests/model/fixtures.h"

namespace lrqat::eval {
namespace {

using model::testing::model_data;

// Sums of a few hundred float32 logits' errors of 1e-5 (tests/model), both signs.
constexpr double kTolerance = 1e-5;

std::vector<std::int32_t> some_tokens(std::int64_t count) {
  std::vector<std::int32_t> tokens(static_cast<std::size_t>(count));
  Random random(7);
  for (auto& token : tokens) token = static_cast<std::int32_t>(random.below(61));
  return tokens;
}

at::Tensor log_probabilities(const model::Decoder& decoder, const at::Tensor& window) {
  return decoder.logits(decoder.forward(window.unsqueeze(0)))[0].to(at::kDouble).log_softmax(-1);
}

at::Tensor window_of(const std::vector<std::int32_t>& tokens, std::int64_t begin, std::int64_t context) {
  return at::tensor(at::ArrayRef<std::int32_t>(tokens.data() + begin, context), at::kLong);
}

// The definition, token by token.
double expected_nll(const model::Decoder& decoder, const std::vector<std::int32_t>& tokens,
                    std::int64_t context, const std::vector<std::int64_t>& starts) {
  const at::NoGradGuard no_grad;
  double sum = 0;
  for (const std::int64_t start : starts) {
    const at::Tensor window = window_of(tokens, start, context);
    const at::Tensor log_p = log_probabilities(decoder, window);
    for (std::int64_t i = 1; i < context; ++i) {
      sum -= log_p[i - 1][window[i].item<std::int64_t>()].item<double>();
    }
  }
  return sum / static_cast<double>(starts.size() * (context - 1));
}

// The model with noise on every linear.
std::unique_ptr<model::Decoder> noisy(const std::string& name, std::uint64_t seed = 3) {
  at::manual_seed(seed);
  const model::SharedSource source(formats::open_weight_source(model_data(name)));
  auto decoder = model::load_float_model(source);
  model::prepare(*decoder, *source, [](const std::string&, const at::Tensor& weight) {
    return std::make_shared<quant::FloatWeight>(weight + 0.05 * at::randn_like(weight));
  });
  return decoder;
}

TEST(Perplexity, IsTheDefinition) {
  const auto decoder = model::load_float_model(model_data("biases"));
  const auto tokens = some_tokens(107);
  SilentProgress silent;
  const auto all = perplexity(*decoder, {tokens}, {.context = 10}, silent);
  EXPECT_EQ(all.windows, 10);
  EXPECT_EQ(all.tokens, 90);
  EXPECT_EQ(all.context, 10);
  EXPECT_NEAR(all.nll, expected_nll(*decoder, tokens, 10, {0, 10, 20, 30, 40, 50, 60, 70, 80, 90}),
              kTolerance);
  EXPECT_DOUBLE_EQ(all.perplexity, std::exp(all.nll));

  const auto some =
      perplexity(*decoder, {tokens}, {.context = 10, .stride_windows = 3, .max_windows = 3}, silent);
  EXPECT_EQ(some.windows, 3);
  EXPECT_NEAR(some.nll, expected_nll(*decoder, tokens, 10, {0, 30, 60}), kTolerance);
  EXPECT_GT(std::abs(some.nll - all.nll), 100 * kTolerance) << "other windows give another figure";
}

TEST(Perplexity, DoesNotDependOnTheBatches) {
  const auto decoder = model::load_float_model(model_data("llama3_rope"));
  const auto tokens = some_tokens(4 * 1500);  // several batches of two windows
  SilentProgress silent;
  const auto together = perplexity(*decoder, {tokens}, {.context = 1000}, silent);
  double sum = 0;
  for (int window = 0; window < 6; ++window) {
    sum +=
        perplexity(*decoder, {std::span(tokens).subspan(window * 1000, 1000)}, {.context = 1000}, silent).nll;
  }
  EXPECT_NEAR(together.nll, sum / 6, kTolerance);
}

TEST(Perplexity, RefusesTextsWithoutAWindow) {
  const auto decoder = model::load_float_model(model_data("biases"));
  SilentProgress silent;
  EXPECT_THROW(perplexity(*decoder, {some_tokens(9)}, {.context = 10}, silent), Error);
  EXPECT_THROW(perplexity(*decoder, {some_tokens(9)}, {.context = 1}, silent), Error);
  EXPECT_THROW(perplexity(*decoder, {some_tokens(9)}, {.context = 3, .stride_windows = 0}, silent), Error);
}

TEST(Divergence, OfAModelFromItselfIsNothing) {
  const auto decoder = model::load_float_model(model_data("biases"));
  SilentProgress silent;
  const auto result = divergence(*decoder, *decoder, {some_tokens(60)}, {.context = 20}, silent);
  EXPECT_EQ(result.mean_kl, 0.0);
  EXPECT_EQ(result.top1_agreement, 1.0);
  EXPECT_EQ(result.model.nll, result.reference.nll);
}

TEST(Divergence, IsTheDefinition) {
  const auto reference = model::load_float_model(model_data("biases"));
  const auto other = noisy("biases");
  const auto tokens = some_tokens(64);
  SilentProgress silent;
  const auto result = divergence(*reference, *other, {tokens}, {.context = 16}, silent);
  const at::NoGradGuard no_grad;
  double kl = 0, agreeing = 0;
  for (int window = 0; window < 4; ++window) {
    const at::Tensor ids = window_of(tokens, window * 16, 16);
    const at::Tensor p = log_probabilities(*reference, ids).narrow(0, 0, 15);
    const at::Tensor q = log_probabilities(*other, ids).narrow(0, 0, 15);
    kl += (p.exp() * (p - q)).sum().item<double>();
    agreeing += (p.argmax(1) == q.argmax(1)).sum().item<double>();
  }
  EXPECT_GT(result.mean_kl, 0.01);
  EXPECT_LT(result.top1_agreement, 1.0);
  EXPECT_NEAR(result.mean_kl, kl / 60, kTolerance);
  EXPECT_DOUBLE_EQ(result.top1_agreement, agreeing / 60);
  EXPECT_NEAR(result.model.nll, expected_nll(*other, tokens, 16, {0, 16, 32, 48}), kTolerance);
  EXPECT_NEAR(result.reference.nll, expected_nll(*reference, tokens, 16, {0, 16, 32, 48}), kTolerance);
}

// Counts how often a weight is multiplied with.
class CountedWeight final : public quant::WeightParametrization {
 public:
  explicit CountedWeight(std::shared_ptr<const quant::WeightParametrization> weight)
      : weight_(std::move(weight)) {}
  std::int64_t out_features() const override { return weight_->out_features(); }
  std::int64_t in_features() const override { return weight_->in_features(); }
  at::Device device() const override { return weight_->device(); }
  quant::WeightTile make_tile(std::int64_t begin, std::int64_t end, ops::ComputeType compute) const override {
    ++uses;
    return weight_->make_tile(begin, end, compute);
  }
  std::int64_t resident_bytes() const override { return weight_->resident_bytes(); }
  mutable int uses = 0;

 private:
  std::shared_ptr<const quant::WeightParametrization> weight_;
};

TEST(Divergence, OfSeveralModelsIsEachOnesFromOnePassOfTheReference) {
  const auto reference = model::load_float_model(model_data("biases"));
  nn::Linear* const linear = reference->linears().front();
  const auto counted = std::make_shared<CountedWeight>(linear->weight());
  linear->set_weight(counted);
  const auto first = noisy("biases", 3), second = noisy("biases", 4), third = noisy("biases", 5);
  const std::vector<const model::Decoder*> models{first.get(), second.get(), third.get()};
  const auto tokens = some_tokens(64);
  SilentProgress silent;
  const auto together = divergences(*reference, models, {tokens}, {.context = 16}, silent);
  const int passes = counted->uses;
  ASSERT_EQ(together.size(), 3U);
  for (std::size_t i = 0; i < models.size(); ++i) {
    counted->uses = 0;
    const auto alone = divergence(*reference, *models[i], {tokens}, {.context = 16}, silent);
    EXPECT_EQ(counted->uses, passes) << "three models take no more of the reference than one";
    EXPECT_EQ(together[i].mean_kl, alone.mean_kl);
    EXPECT_EQ(together[i].kl_99, alone.kl_99);
    EXPECT_EQ(together[i].log_ratio.mean, alone.log_ratio.mean);
    EXPECT_EQ(together[i].model.nll, alone.model.nll);
    EXPECT_EQ(together[i].reference.nll, alone.reference.nll);
    EXPECT_NE(together[i].mean_kl, together[(i + 1) % 3].mean_kl);
  }
  EXPECT_GT(passes, 0);
}

// Every second token is only seen, and so is all of the third window.
TEST(Perplexity, ScoresWhatIsToBeScored) {
  const auto decoder = model::load_float_model(model_data("biases"));
  const auto other = noisy("biases");
  const auto tokens = some_tokens(50);
  std::vector<std::uint8_t> scored(50);
  for (std::size_t i = 0; i < 50; ++i) scored[i] = i % 2 == 0 && (i < 20 || i >= 30) && i != 42;
  const at::NoGradGuard no_grad;
  double nll = 0, kl = 0;
  std::int64_t count = 0;
  for (std::int64_t i = 0; i < 50; ++i) {
    if (i % 10 == 0 || scored[static_cast<std::size_t>(i)] == 0) continue;
    const at::Tensor window = window_of(tokens, i / 10 * 10, 10);
    const at::Tensor p = log_probabilities(*decoder, window)[i % 10 - 1],
                     q = log_probabilities(*other, window)[i % 10 - 1];
    nll -= p[tokens[static_cast<std::size_t>(i)]].item<double>();
    kl += (p.exp() * (p - q)).sum().item<double>();
    ++count;
  }
  SilentProgress silent;
  const ScoredText text{tokens, scored};
  const auto result = perplexity(*decoder, text, {.context = 10}, silent);
  EXPECT_EQ(result.windows, 4);
  EXPECT_EQ(result.tokens, count);
  EXPECT_NEAR(result.nll, nll / static_cast<double>(count), kTolerance);
  const auto compared = divergence(*decoder, *other, text, {.context = 10}, silent);
  EXPECT_EQ(compared.model.tokens, count);
  EXPECT_NEAR(compared.mean_kl, kl / static_cast<double>(count), kTolerance);
  EXPECT_NEAR(compared.reference.nll, result.nll, kTolerance);
  const auto third = [&](std::int64_t most) {
    return perplexity(*decoder, {std::span(tokens).subspan(20), std::span(scored).subspan(20)},
                      {.context = 10, .max_windows = most}, silent);
  };
  EXPECT_THROW(third(1), Error) << "of prompts alone there is no figure";
  EXPECT_EQ(third(2).windows, 1);
}

// The error of a mean over windows of several sizes: that of the sums from what their sizes would give.
TEST(Estimate, WeighsWindowsByTheirTokens) {
  const std::vector<double> values{1, 3, 2, 4, 4, 1};
  const std::vector<std::int64_t> equal{2, 2, 2}, several{1, 3, 2};
  const Estimate of_equal = estimate(values, equal), of_several = estimate(values, several);
  EXPECT_DOUBLE_EQ(of_equal.mean, 2.5);
  EXPECT_NEAR(of_equal.window_stderr, standard_error(std::vector<double>{2, 3, 2.5}), 1e-15);
  EXPECT_DOUBLE_EQ(of_several.mean, 2.5);
  const double squares = 1.5 * 1.5 + 1.5 * 1.5 + 0;  // 1 - 2.5, 9 - 7.5, 5 - 5
  EXPECT_NEAR(of_several.window_stderr, std::sqrt(squares * 3 / 2) / 6, 1e-15);
  EXPECT_EQ(estimate(values, std::vector<std::int64_t>{6}).window_stderr, 0);
}

}  // namespace
}  // namespace lrqat::eval
