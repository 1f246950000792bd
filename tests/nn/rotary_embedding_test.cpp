#include "lrqat/nn/rotary_embedding.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "lrqat/base/error.h"
#include "lrqat/formats/safetensors.h"
#include "tests/nn/numeric_gradient.h"

namespace lrqat::nn {
namespace {

at::Tensor expected_frequencies(const std::string& fixture) {
  const formats::SafetensorsFile file(std::string(LRQAT_TEST_DATA) + "/model/" + fixture +
                                      "/expected.safetensors");
  const formats::TensorView& view = file.at("inverse_frequencies");
  return at::from_blob(const_cast<std::byte*>(view.data.data()), view.shape, at::kFloat).clone();
}

RopeScaling linear4() { return {.rope_type = "linear", .factor = 4.0}; }
RopeScaling llama3() {
  return {.rope_type = "llama3",
          .factor = 8.0,
          .low_freq_factor = 1.0,
          .high_freq_factor = 4.0,
          .original_max_position_embeddings = 64};
}

// transformers' float32 operations one by one: equal bits, so that angles agree at every position.
TEST(RotaryEmbedding, FrequenciesAreTransformersBits) {
  EXPECT_TRUE(at::equal(rotary_inverse_frequencies(12, 500.0, {}), expected_frequencies("biases")));
  EXPECT_TRUE(
      at::equal(rotary_inverse_frequencies(8, 10000.0, linear4()), expected_frequencies("linear_rope")));
  EXPECT_TRUE(
      at::equal(rotary_inverse_frequencies(8, 1000.0, llama3()), expected_frequencies("llama3_rope")));
  EXPECT_FALSE(
      at::equal(rotary_inverse_frequencies(8, 1000.0, linear4()), expected_frequencies("llama3_rope")));
}

TEST(RotaryEmbedding, RefusesUnknownKinds) {
  EXPECT_THROW(rotary_inverse_frequencies(8, 1e4, {.rope_type = "ntk"}), Error);
}

TEST(RotaryEmbedding, TurnsPairsOfHalves) {
  const RotaryEmbedding rotary(4, 100.0, {});  // inverse frequencies 1 and 0.1
  const at::Tensor x = at::tensor({1.0F, 2.0F, 3.0F, 4.0F}).view({1, 1, 1, 4});
  const at::Tensor y = rotary.apply(x, 7).flatten();
  const double a = 7.0, b = 0.7;
  const std::vector<double> expected = {std::cos(a) - 3 * std::sin(a), 2 * std::cos(b) - 4 * std::sin(b),
                                        3 * std::cos(a) + std::sin(a), 4 * std::cos(b) + 2 * std::sin(b)};
  for (int i = 0; i < 4; ++i) EXPECT_NEAR(y[i].item<float>(), expected[i], 2e-6) << i;
}

TEST(RotaryEmbedding, PositionShiftsTheAngles) {
  at::manual_seed(0);
  const RotaryEmbedding rotary(8, 10000.0, {});
  const at::Tensor x = at::randn({2, 300, 3, 8});
  const at::Tensor whole = rotary.apply(x, 0);
  EXPECT_TRUE(at::equal(rotary.apply(x.narrow(1, 290, 10), 290), whole.narrow(1, 290, 10)));
  EXPECT_FALSE(at::equal(rotary.apply(x.narrow(1, 290, 10), 289), whole.narrow(1, 290, 10)));
}

TEST(RotaryEmbedding, KernelEqualsTheFloat64FormAndItsGradient) {
  at::manual_seed(1);
  const RotaryEmbedding rotary(6, 50.0, {});
  const at::Tensor x = at::randn({2, 19, 3, 6});
  // One rounding a product and one a sum of entries below 5 in magnitude: 3 · 2^-24 · 5
  const at::Tensor wide = rotary.apply(x.to(at::kDouble), 5);
  EXPECT_LT((rotary.apply(x, 5).to(at::kDouble) - wide).abs().max().item<double>(), 1e-6);

  const at::Tensor leaf = x.clone().requires_grad_(), grad = at::randn(x.sizes());
  const at::Tensor back = torch::autograd::grad({rotary.apply(leaf, 5)}, {leaf}, {grad})[0];
  EXPECT_LT((rotary.apply(back, 5) - grad).abs().max().item<double>(), 2e-6) << "the rotation back, undone";
  const auto shift = [&](const at::Tensor& v) { return rotary.apply(v, 5); };
  EXPECT_LT(testing::gradient_error(shift, x.narrow(1, 0, 3)), testing::kGradientTolerance);
}

// Only the first part of a head is rotated; the rest passes.
TEST(RotaryEmbedding, TurnsAPartOfAHead) {
  at::manual_seed(3);
  const RotaryEmbedding part(8, 100.0, {}, 4), whole(4, 100.0, {});
  const at::Tensor x = at::randn({1, 5, 2, 8});
  const at::Tensor y = part.apply(x, 7);
  EXPECT_TRUE(at::equal(y.narrow(3, 0, 4), whole.apply(x.narrow(3, 0, 4), 7)));
  EXPECT_TRUE(at::equal(y.narrow(3, 4, 4), x.narrow(3, 4, 4)));
}

// dynamic and longrope go by the length seen in the call, and come back from a long one.
TEST(RotaryEmbedding, LengthChoosesTheFrequencies) {
  at::manual_seed(4);
  const RopeScaling dynamic{.rope_type = "dynamic", .factor = 2.0, .original_max_position_embeddings = 16};
  const RopeScaling longrope{.rope_type = "longrope",
                             .factor = 2.0,
                             .original_max_position_embeddings = 16,
                             .attention_factor = 1.5,
                             .short_factor = {1.0, 1.0},
                             .long_factor = {2.0, 4.0}};
  const at::Tensor brief = at::randn({1, 16, 1, 4}), lengthy = at::randn({1, 17, 1, 4});
  const RotaryEmbedding plain(4, 100.0, {});
  for (const auto& scaling : {dynamic, longrope}) {
    const RotaryEmbedding rotary(4, 100.0, scaling);
    const at::Tensor expected = plain.apply(brief, 0) * scaling.attention_factor;
    EXPECT_LT((rotary.apply(brief, 0) - expected).abs().max().item<float>(), 1e-6);
    const at::Tensor stretched = rotary.apply(lengthy, 0);
    EXPECT_GT((stretched - plain.apply(lengthy, 0) * scaling.attention_factor).abs().max().item<float>(),
              1e-2);
    EXPECT_LT((rotary.apply(brief, 0) - expected).abs().max().item<float>(), 1e-6);
    EXPECT_TRUE(at::equal(rotary.apply(lengthy, 0), stretched));
  }
}

}  // namespace
}  // namespace lrqat::nn
