// Rescaled channels, folded into what comes before them, leave the model's function as it is.
#include "lrqat/start/channel_scales.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "lrqat/quant/float_weight.h"
#include "tests/model/fixtures.h"
#include "tests/model/random_model.h"

namespace lrqat::start {
namespace {

namespace testing = model::testing;
using model::Decoder, model::DecoderLayer, model::SharedSource, model::read_tensor;

at::Tensor draw(std::int64_t size) { return at::exp(at::randn({size})); }

class ChannelScalesTest : public ::testing::Test {
 protected:
  void open(const formats::ModelConfig& config) {
    source_ = formats::open_weight_source(
        testing::write_random_model(folder_.path() / concat(config.model_type, "-m"), config));
    decoder_ = model::load_float_model(source_);
    at::manual_seed(9);
    tokens_ = at::randint(80, {2, 11}, at::kLong);
  }
  void SetUp() override { open(testing::small_config()); }

  at::Tensor logits() const { return decoder_->logits(decoder_->forward(tokens_)); }

  // Of every group of the layer, drawn.
  void rescale(DecoderLayer& layer) {
    LayerWeights weights;
    const auto groups = layer.linear_groups();
    for (const auto& group : groups) {
      const nn::RmsNorm* norm = group.producer.norm;
      if (norm != nullptr) weights.norms[group.producer.norm_name] = norm->weight + norm->offset;
      for (const nn::Linear* linear : group.linears)
        weights.matrices[linear->name()] = read_tensor(*source_, linear->name() + ".weight");
    }
    for (const auto& group : groups) fold(group, shared_by_copies(draw(group.in_features()), group), weights);
    for (const auto& group : groups) {
      const nn::RmsNorm* norm = group.producer.norm;
      const std::string& name = group.producer.norm_name;
      if (norm != nullptr) {
        ASSERT_TRUE(decoder_->replace(name, weights.norms.at(name) - norm->offset));
      }
      for (nn::Linear* linear : group.linears) {
        const at::Tensor& matrix = weights.matrices.at(linear->name());
        EXPECT_FALSE(at::equal(matrix, read_tensor(*source_, linear->name() + ".weight"))) << linear->name();
        linear->set_weight(std::make_shared<quant::FloatWeight>(matrix));
      }
    }
  }

  void expect_same_function() {
    const at::Tensor before = logits();
    for (std::int64_t i = 0; i < decoder_->num_layers(); ++i) rescale(decoder_->layer(i));
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
    if (parameter.kind != quant::ParameterKind::float_tensor) continue;
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
  const auto group = decoder_->layer(0).linear_groups().at(1);
  ASSERT_EQ(group.input, "self_attn.output");
  const at::Tensor values = draw(64), shared = shared_by_copies(values, group).view({4, 16});
  EXPECT_TRUE(at::equal(shared[0], shared[1]) && at::equal(shared[2], shared[3]));
  EXPECT_FALSE(at::equal(shared[1], shared[2]));
  EXPECT_TRUE(at::allclose(shared[0], values.view({4, 16}).slice(0, 0, 2).mean(0)));
  LayerWeights weights;
  for (const nn::Linear* linear : decoder_->layer(0).linears())
    weights.matrices[linear->name()] = at::ones({linear->out_features(), linear->in_features()});
  EXPECT_THROW(fold(group, values, weights), std::exception);
  fold(group, shared.reshape({-1}), weights);
}

TEST_F(ChannelScalesTest, UnknownNamesAreNotReplaced) {
  EXPECT_FALSE(decoder_->replace("model.layers.7.input_layernorm.weight", at::ones({64})));
  EXPECT_FALSE(decoder_->replace("model.layers.0.self_attn.q_proj.weight", at::ones({64, 64})));
  EXPECT_TRUE(decoder_->replaced().empty());
}

}  // namespace
}  // namespace lrqat::start
