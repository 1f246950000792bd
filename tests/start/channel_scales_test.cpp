// Rescaled channels, folded into what comes before them, leave the model's function as it is.
#include "lrqat/start/channel_scales.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "lrqat/quant/float_weight.h"
#include "tests/model/fixtures.h"
#include "tests/model/random_model.h"

namespace lrqat::model {
namespace {

at::Tensor draw(std::int64_t size) { return at::exp(at::randn({size})); }

class ChannelScalesTest : public ::testing::Test {
 protected:
  void open(const formats::ModelConfig& config) {
    source_ = formats::open_weight_source(
        testing::write_random_model(folder_.path() / concat(config.model_type, "-m"), config));
    decoder_ = load_float_model(source_);
    at::manual_seed(9);
    tokens_ = at::randint(80, {2, 11}, at::kLong);
  }
  void SetUp() override { open(testing::small_config()); }

  at::Tensor logits() const { return decoder_->logits(decoder_->forward(tokens_)); }

  start::ChannelScales draw_scales(const DecoderLayer& layer) const {
    const auto& attention = layer.self_attn();
    return {draw(64), start::shared_by_value_heads(draw(64), attention), draw(64), draw(96)};
  }

  void rescale(std::int64_t index, const start::ChannelScales& scales) {
    DecoderLayer& layer = decoder_->layer(index);
    const auto linears = layer.linears();
    const nn::RmsNorm &input = layer.input_layernorm(), &feed_forward = layer.feed_forward_norm();
    start::LayerWeights weights;
    weights.input_norm = input.weight + input.offset;
    weights.feed_forward_norm = feed_forward.weight + feed_forward.offset;
    for (std::size_t i = 0; i < 7; ++i)
      weights.matrices.at(i) = read_tensor(*source_, linears[i]->name() + ".weight");
    start::fold(scales, layer.self_attn(), weights);
    const std::string prefix = concat("model.layers.", index, ".");
    ASSERT_TRUE(decoder_->replace(prefix + "input_layernorm.weight", weights.input_norm - input.offset));
    ASSERT_TRUE(decoder_->replace(prefix + layer.feed_forward_norm_name(),
                                  weights.feed_forward_norm - feed_forward.offset));
    for (std::size_t i = 0; i < 7; ++i) {
      EXPECT_FALSE(at::equal(weights.matrices.at(i), read_tensor(*source_, linears[i]->name() + ".weight")));
      linears[i]->set_weight(std::make_shared<quant::FloatWeight>(weights.matrices.at(i)));
    }
  }

  void expect_same_function() {
    const at::Tensor before = logits();
    for (std::int64_t i = 0; i < decoder_->num_layers(); ++i) rescale(i, draw_scales(decoder_->layer(i)));
    EXPECT_LT(testing::max_difference(before, logits()), 2e-5 * before.abs().max().item<double>());
    EXPECT_EQ(decoder_->replaced().size(), 4U);
    decoder_->replace("model.layers.1.input_layernorm.weight", at::ones({64}));
    EXPECT_GT(testing::max_difference(before, logits()), 1e-2) << "negative control";
  }

  testing::TemporaryFolder folder_;
  SharedSource source_;
  std::unique_ptr<Decoder> decoder_;
  at::Tensor tokens_;
};

TEST_F(ChannelScalesTest, TheFunctionStays) { expect_same_function(); }

// Norms that multiply by 1 + weight, and others than Llama's in front of the MLP.
TEST_F(ChannelScalesTest, TheFunctionOfGemmaStays) {
  for (const int generation : {2, 3}) {
    open(testing::gemma_config(generation));
    expect_same_function();
  }
}

// Every norm is a parameter under its own name, and its gradient is that of the numbers: the layer multiplies
// by 1 + weight, so a step of the weight is one of the factor.
TEST_F(ChannelScalesTest, GemmasNormsAreTrainable) {
  open(testing::gemma_config(3));
  const auto names = decoder_->norm_names();
  EXPECT_EQ(names.size(), 2U * 6 + 1);  // four of a layer, two of its heads, the last one
  for (const std::string& name : names) {
    EXPECT_TRUE(source_->has(name)) << name;
    ASSERT_TRUE(decoder_->replace(name, decoder_->float_tensor(name).set_requires_grad(true)));
  }
  const auto loss = [&] { return logits().to(at::kDouble).square().sum(); };
  torch::autograd::backward({loss()});
  std::size_t seen = 0;
  for (const auto& parameter : decoder_->parameters()) {
    if (parameter.kind != quant::ParameterKind::unquantized) continue;
    ++seen;
    const at::NoGradGuard no_grad;
    // Along its own gradient; float32 sums, and the curve's third derivative times the step squared.
    at::Tensor value = parameter.value.detach();
    const at::Tensor direction = parameter.value.grad() / parameter.value.grad().norm(), old = value.clone();
    constexpr double kStep = 3e-2;
    value.copy_(old + direction * kStep);
    const double above = loss().item<double>();
    value.copy_(old - direction * kStep);
    const double below = loss().item<double>();
    value.copy_(old);
    const double slope = parameter.value.grad().norm().item<double>();
    EXPECT_NEAR((above - below) / (2 * kStep) / slope, 1.0, 0.05) << parameter.name;
  }
  EXPECT_EQ(seen, names.size());
}

// Four heads on two value heads: factors of heads 0, 1 and of 2, 3 are the same.
TEST_F(ChannelScalesTest, HeadsOfAValueHeadShareTheirFactors) {
  const auto& attention = decoder_->layer(0).self_attn();
  const at::Tensor values = draw(64), shared = start::shared_by_value_heads(values, attention).view({4, 16});
  EXPECT_TRUE(at::equal(shared[0], shared[1]) && at::equal(shared[2], shared[3]));
  EXPECT_FALSE(at::equal(shared[1], shared[2]));
  EXPECT_TRUE(at::allclose(shared[0], values.view({4, 16}).slice(0, 0, 2).mean(0)));
  start::LayerWeights weights;
  for (at::Tensor& matrix : weights.matrices) matrix = at::ones({64, 64});
  EXPECT_THROW(start::fold({.o = values}, attention, weights), std::exception);
}

TEST_F(ChannelScalesTest, UnknownNamesAreNotReplaced) {
  EXPECT_FALSE(decoder_->replace("model.layers.7.input_layernorm.weight", at::ones({64})));
  EXPECT_FALSE(decoder_->replace("model.layers.0.self_attn.q_proj.weight", at::ones({64, 64})));
  EXPECT_TRUE(decoder_->replaced().empty());
}

}  // namespace
}  // namespace lrqat::model
