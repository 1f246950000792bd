// The decoder against transformers: logits, loss and the gradient by the token embeddings of small models,
// computed in float64 (tools/make_model_fixtures.py).
#include "lrqat/model/decoder.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "lrqat/model/load.h"
#include "tests/model/fixtures.h"

namespace lrqat::model {
namespace {

using testing::load_tensor;
using testing::max_difference;
using testing::model_data;

struct Expected {
  explicit Expected(const std::string& name)
      : file(model_data(name) / "expected.safetensors"), error(load_tensor(file, "float32_error")) {}
  at::Tensor operator[](const std::string& name) const { return load_tensor(file, name); }
  // Both programs round in float32 at the same places, in another order of sums: four times the distance that
  // transformers' own float32 run has from the float64 one.
  double logit_tolerance() const { return 4 * error[0].item<double>(); }
  double gradient_tolerance() const { return 4 * error[1].item<double>(); }

  formats::SafetensorsFile file;
  at::Tensor error;
};

at::Tensor run_layers(const Decoder& decoder, at::Tensor hidden) {
  for (std::int64_t i = 0; i < decoder.num_layers(); ++i) hidden = decoder.layer_forward(i, hidden);
  return decoder.logits(decoder.final_norm(hidden));
}

class DecoderTest : public ::testing::TestWithParam<const char*> {};

TEST_P(DecoderTest, LogitsEqualTransformers) {
  const Expected expected(GetParam());
  const auto decoder = load_float_model(model_data(GetParam()));
  const at::NoGradGuard no_grad;
  const at::Tensor logits = decoder->logits(decoder->forward(expected["tokens"]));
  EXPECT_LT(max_difference(logits, expected["logits"]), expected.logit_tolerance());
}

TEST_P(DecoderTest, OtherTokensAreNoticed) {  // negative control of the comparison above
  const Expected expected(GetParam());
  const auto decoder = load_float_model(model_data(GetParam()));
  const at::NoGradGuard no_grad;
  at::Tensor tokens = expected["tokens"];
  tokens[1][3] = (tokens[1][3] + 1) % decoder->config().vocab_size;
  const at::Tensor logits = decoder->logits(decoder->forward(tokens));
  EXPECT_GT(max_difference(logits, expected["logits"]), 100 * expected.logit_tolerance());
}

TEST_P(DecoderTest, LossAndGradientEqualTransformers) {
  const Expected expected(GetParam());
  const auto decoder = load_float_model(model_data(GetParam()));
  const at::Tensor tokens = expected["tokens"];
  const at::Tensor embeddings = decoder->embed(tokens).requires_grad_();
  const at::Tensor logits = run_layers(*decoder, embeddings);
  const std::int64_t vocab = logits.size(-1), last = tokens.size(1) - 1;
  const at::Tensor loss = at::cross_entropy_loss(logits.narrow(1, 0, last).reshape({-1, vocab}),
                                                 tokens.narrow(1, 1, last).reshape({-1}));
  const at::Tensor gradient = torch::autograd::grad({loss}, {embeddings})[0];
  EXPECT_NEAR(loss.item<double>(), expected["loss"].item<double>(), expected.logit_tolerance());
  EXPECT_LT(max_difference(gradient, expected["grad_embeddings"]), expected.gradient_tolerance());
}

TEST_P(DecoderTest, CacheGivesTheSameLogits) {
  const Expected expected(GetParam());
  const auto decoder = load_float_model(model_data(GetParam()));
  const at::NoGradGuard no_grad;
  const at::Tensor tokens = expected["tokens"];
  nn::KvCache cache = decoder->make_cache();
  std::vector<at::Tensor> parts;
  std::int64_t begin = 0;
  for (const std::int64_t count : {5, 1, 1, 9, 8}) {  // a prompt, single tokens, chunks after a cache
    parts.push_back(decoder->logits(decoder->forward(tokens.narrow(1, begin, count), &cache)));
    begin += count;
  }
  ASSERT_EQ(begin, tokens.size(1));
  EXPECT_EQ(cache.length(), begin);
  EXPECT_LT(max_difference(at::cat(parts, 1), expected["logits"]), expected.logit_tolerance());
}

TEST_P(DecoderTest, CacheContinuesAfterTruncation) {
  const Expected expected(GetParam());
  const auto decoder = load_float_model(model_data(GetParam()));
  const at::NoGradGuard no_grad;
  const at::Tensor tokens = expected["tokens"];
  nn::KvCache cache = decoder->make_cache();
  decoder->forward(tokens.flip({1}), &cache);
  cache.truncate(0);
  decoder->forward(tokens.narrow(1, 0, 10), &cache);
  cache.truncate(7);
  const at::Tensor logits = decoder->logits(decoder->forward(tokens.narrow(1, 7, 17), &cache));
  EXPECT_LT(max_difference(logits, expected["logits"].narrow(1, 7, 17)), expected.logit_tolerance());
}

INSTANTIATE_TEST_SUITE_P(Fixtures, DecoderTest, ::testing::Values("biases", "linear_rope", "llama3_rope"),
                         [](const auto& info) { return std::string(info.param); });

TEST(Decoder, NamesItsLinearsAsHuggingFaceDoes) {
  const auto decoder = load_float_model(model_data("biases"));
  const auto linears = decoder->linears();
  ASSERT_EQ(linears.size(), 14U);
  const std::vector<std::string> names = {
      "model.layers.1.self_attn.q_proj", "model.layers.1.self_attn.k_proj", "model.layers.1.self_attn.v_proj",
      "model.layers.1.self_attn.o_proj", "model.layers.1.mlp.gate_proj",    "model.layers.1.mlp.up_proj",
      "model.layers.1.mlp.down_proj"};
  for (std::size_t i = 0; i < names.size(); ++i) {
    EXPECT_EQ(linears[7 + i]->name(), names[i]);
    EXPECT_EQ(decoder->find_linear(names[i]), linears[7 + i]);
    EXPECT_TRUE(linears[7 + i]->bias().defined());
  }
  EXPECT_EQ(decoder->find_linear("lm_head"), nullptr);
  EXPECT_FALSE(decoder->lm_head().bias().defined());
  EXPECT_TRUE(decoder->parameters().empty());
}

TEST(Decoder, TiedHeadSharesTheEmbedding) {
  const auto tied = load_float_model(model_data("linear_rope"));
  EXPECT_EQ(tied->lm_head().weight(), tied->embedding().weight());
  const auto untied = load_float_model(model_data("biases"));
  EXPECT_NE(untied->lm_head().weight(), untied->embedding().weight());
}

TEST(Decoder, RefusesTokensOutsideTheVocabulary) {
  const auto decoder = load_float_model(model_data("biases"));
  EXPECT_THROW(decoder->forward(at::full({1, 2}, 61, at::kLong)), Error);
  EXPECT_THROW(decoder->forward(at::full({1, 2}, -1, at::kLong)), Error);
}

}  // namespace
}  // namespace lrqat::model
