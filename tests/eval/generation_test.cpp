#include "lrqat/eval/generation.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>

#include "lrqat/base/error.h"
#include "lrqat/model/load.h"
#include "tests/model/fixtures.h"

namespace lrqat::eval {
namespace {

using model::testing::model_data;

const std::vector<std::int32_t> kPrompt = {5, 17, 42, 3};

TEST(Generation, GreedyFollowsTheLogitsOfTheWholeText) {
  const auto decoder = model::load_float_model(model_data("llama3_rope"));
  std::vector<std::int32_t> text = kPrompt;
  const auto generated = generate(*decoder, kPrompt, {.max_tokens = 40});
  ASSERT_EQ(generated.size(), 40U);
  const at::NoGradGuard no_grad;
  for (const std::int32_t token : generated) {  // without the cache
    const at::Tensor ids = at::tensor(at::ArrayRef<std::int32_t>(text), at::kLong).unsqueeze(0);
    const at::Tensor logits = decoder->logits(decoder->forward(ids))[0][-1];
    ASSERT_EQ(token, logits.argmax().item<std::int64_t>()) << "after " << text.size() << " tokens";
    text.push_back(token);
  }
}

TEST(Generation, TakesALongPromptInPieces) {
  const auto decoder = model::load_float_model(model_data("biases"));
  std::vector<std::int32_t> prompt(1200);
  Random random(1);
  for (auto& token : prompt) token = static_cast<std::int32_t>(random.below(61));
  const at::NoGradGuard no_grad;
  const at::Tensor ids = at::tensor(at::ArrayRef<std::int32_t>(prompt), at::kLong).unsqueeze(0);
  const auto expected = decoder->logits(decoder->forward(ids))[0][-1].argmax().item<std::int64_t>();
  EXPECT_EQ(generate(*decoder, prompt, {.max_tokens = 1}).at(0), expected);
}

TEST(Generation, StopsWhereItShould) {
  const auto decoder = model::load_float_model(model_data("biases"));
  const auto all = generate(*decoder, kPrompt, {.max_tokens = 12});
  const std::int32_t stop = all[5];
  const auto first = std::find(all.begin(), all.end(), stop) - all.begin();
  const auto stopped = generate(*decoder, kPrompt, {.max_tokens = 12, .stop_tokens = {stop}});
  EXPECT_EQ(stopped, std::vector<std::int32_t>(all.begin(), all.begin() + first + 1));
  int calls = 0;
  EXPECT_EQ(generate(*decoder, kPrompt, {.max_tokens = 12}, [&](std::int32_t) { return ++calls < 3; }).size(),
            3U);
  EXPECT_TRUE(generate(*decoder, kPrompt, {.max_tokens = 0}).empty());
}

TEST(Generation, SamplingIsSeeded) {
  const auto decoder = model::load_float_model(model_data("biases"));
  const auto run = [&](std::uint64_t seed) {
    return generate(*decoder, kPrompt, {.max_tokens = 30, .temperature = 1.0, .seed = seed});
  };
  EXPECT_EQ(run(1), run(1));
  EXPECT_NE(run(1), run(2));
}

TEST(Generation, RefusesImpossibleOptions) {
  const auto decoder = model::load_float_model(model_data("biases"));
  EXPECT_THROW(generate(*decoder, kPrompt, {.temperature = -1}), Error);
  EXPECT_THROW(generate(*decoder, kPrompt, {.temperature = 1, .top_p = 0}), Error);
  EXPECT_THROW(generate(*decoder, kPrompt, {.temperature = 1, .top_p = 1.5}), Error);
  EXPECT_THROW(generate(*decoder, {}, {}), Error);
}

// Shares of 20000 draws against the probabilities: five standard deviations, sqrt(p (1 - p) / 20000).
TEST(SampleToken, FollowsTemperatureAndTopP) {
  const at::Tensor logits = at::log(at::tensor({0.1, 0.4, 0.2, 0.3}, at::kDouble)).to(at::kFloat);
  const auto shares = [&](const GenerationOptions& options) {
    Random random(11);
    std::array<double, 4> counts{};
    for (int i = 0; i < 20000; ++i) counts.at(sample_token(logits, options, random)) += 1;
    for (double& count : counts) count /= 20000;
    return counts;
  };
  const auto expect = [&](const GenerationOptions& options, const std::array<double, 4>& p) {
    const auto found = shares(options);
    for (int i = 0; i < 4; ++i) EXPECT_NEAR(found[i], p[i], 5 * std::sqrt(p[i] * (1 - p[i]) / 20000)) << i;
  };
  expect({.temperature = 1.0}, {0.1, 0.4, 0.2, 0.3});
  expect({.temperature = 0.5}, {0.01 / 0.3, 0.16 / 0.3, 0.04 / 0.3, 0.09 / 0.3});
  expect({.temperature = 1.0, .top_p = 0.65}, {0, 0.4 / 0.7, 0, 0.3 / 0.7});
  expect({.temperature = 1.0, .top_p = 0.1}, {0, 1, 0, 0});
  expect({.temperature = 0.0}, {0, 1, 0, 0});
}

}  // namespace
}  // namespace lrqat::eval
