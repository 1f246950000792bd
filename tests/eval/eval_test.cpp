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
std::unique_ptr<model::Decoder> noisy(const std::string& name) {
  at::manual_seed(3);
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
  const auto all = perplexity(*decoder, tokens, {.context = 10}, silent);
  EXPECT_EQ(all.windows, 10);
  EXPECT_EQ(all.tokens, 90);
  EXPECT_EQ(all.context, 10);
  EXPECT_NEAR(all.nll, expected_nll(*decoder, tokens, 10, {0, 10, 20, 30, 40, 50, 60, 70, 80, 90}),
              kTolerance);
  EXPECT_DOUBLE_EQ(all.perplexity, std::exp(all.nll));

  const auto some =
      perplexity(*decoder, tokens, {.context = 10, .stride_windows = 3, .max_windows = 3}, silent);
  EXPECT_EQ(some.windows, 3);
  EXPECT_NEAR(some.nll, expected_nll(*decoder, tokens, 10, {0, 30, 60}), kTolerance);
  EXPECT_GT(std::abs(some.nll - all.nll), 100 * kTolerance) << "other windows give another figure";
}

TEST(Perplexity, DoesNotDependOnTheBatches) {
  const auto decoder = model::load_float_model(model_data("llama3_rope"));
  const auto tokens = some_tokens(4 * 1500);  // several batches of two windows
  SilentProgress silent;
  const auto together = perplexity(*decoder, tokens, {.context = 1000}, silent);
  double sum = 0;
  for (int window = 0; window < 6; ++window) {
    sum +=
        perplexity(*decoder, std::span(tokens).subspan(window * 1000, 1000), {.context = 1000}, silent).nll;
  }
  EXPECT_NEAR(together.nll, sum / 6, kTolerance);
}

TEST(Perplexity, RefusesTextsWithoutAWindow) {
  const auto decoder = model::load_float_model(model_data("biases"));
  SilentProgress silent;
  EXPECT_THROW(perplexity(*decoder, some_tokens(9), {.context = 10}, silent), Error);
  EXPECT_THROW(perplexity(*decoder, some_tokens(9), {.context = 1}, silent), Error);
  EXPECT_THROW(perplexity(*decoder, some_tokens(9), {.context = 3, .stride_windows = 0}, silent), Error);
}

TEST(Divergence, OfAModelFromItselfIsNothing) {
  const auto decoder = model::load_float_model(model_data("biases"));
  SilentProgress silent;
  const auto result = divergence(*decoder, *decoder, some_tokens(60), {.context = 20}, silent);
  EXPECT_EQ(result.mean_kl, 0.0);
  EXPECT_EQ(result.top1_agreement, 1.0);
  EXPECT_EQ(result.model.nll, result.reference.nll);
}

TEST(Divergence, IsTheDefinition) {
  const auto reference = model::load_float_model(model_data("biases"));
  const auto other = noisy("biases");
  const auto tokens = some_tokens(64);
  SilentProgress silent;
  const auto result = divergence(*reference, *other, tokens, {.context = 16}, silent);
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

}  // namespace
}  // namespace lrqat::eval
