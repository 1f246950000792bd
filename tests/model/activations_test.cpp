// Quantized activations in a whole model: every way through attention quantizes alike, every point has an
// effect, and what is stored gives the same model again.
#include "lrqat/model/activations.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "lrqat/base/error.h"
#include "lrqat/model/load.h"
#include "lrqat/nn/checkpoint.h"
#include "lrqat/nn/packed_row.h"
#include "tests/model/fixtures.h"
#include "tests/model/random_model.h"

namespace lrqat::model {
namespace {

using quant::ActivationOptions;
using quant::ActivationRange;
using testing::max_difference;
using testing::model_data;

// Sums in another order move a value by some 1e-7; the fixtures' values lie that near to no rounding tie.
constexpr double kTolerance = 2e-5;

at::Tensor tokens_of(std::int64_t count, std::int64_t seed) {
  at::manual_seed(seed);
  return at::randint(0, 61, {1, count}, at::kLong);
}

void observe(Decoder& decoder) {
  const at::NoGradGuard no_grad;
  for (const auto& quantizer : decoder.activation_quantizers()) quantizer->observe(true);
  decoder.forward(tokens_of(40, 3));
  for (const auto& quantizer : decoder.activation_quantizers()) quantizer->observe(false);
}

std::unique_ptr<Decoder> quantized(const ActivationOptions& options,
                                   const std::filesystem::path& model = model_data("llama3_rope")) {
  auto decoder = load_float_model(model);
  decoder->set_activations(options);
  if (options.range == ActivationRange::fixed) observe(*decoder);
  return decoder;
}

const std::vector<ActivationOptions> kSettings = {
    {.activation_bits = 8, .kv_bits = 8},
    {.activation_bits = 8, .kv_bits = 4},
    {.activation_bits = 4, .kv_bits = 4},
    {.activation_bits = 16, .kv_bits = 4},
    {.activation_bits = 8, .kv_bits = 8, .range = ActivationRange::fixed},
};

at::Tensor logits_of(const Decoder& decoder, const at::Tensor& tokens) {
  const at::NoGradGuard no_grad;
  return decoder.logits(decoder.forward(tokens));
}

// Token by token out of the cache what the whole text at once gives.
void expect_cached_equals_whole(const std::filesystem::path& model, const ActivationOptions& options,
                                std::int64_t seed) {
  const at::NoGradGuard no_grad;
  const at::Tensor plain = logits_of(*load_float_model(model), tokens_of(30, seed));
  const auto decoder = quantized(options, model);
  const std::string name = concat(quant::activation_setting_name(options), " ", model.filename().string());
  const at::Tensor tokens = tokens_of(30, seed), whole = logits_of(*decoder, tokens);
  EXPECT_GT(max_difference(whole, plain), 100 * kTolerance) << name << " has no effect";
  nn::KvCache cache = decoder->make_cache();
  std::int64_t begin = 0;
  for (const std::int64_t count : {7, 1, 1, 1, 1, 1, 5, 1, 1, 11}) {
    const at::Tensor part = decoder->logits(decoder->forward(tokens.narrow(1, begin, count), &cache));
    EXPECT_LT(max_difference(part, whole.narrow(1, begin, count)), kTolerance) << name << " at " << begin;
    begin += count;
  }
  ASSERT_EQ(begin, 30);
}

void expect_packed_equals_whole(const std::filesystem::path& model, const ActivationOptions& options) {
  const at::NoGradGuard no_grad;
  const auto decoder = quantized(options, model);
  const at::Tensor first = tokens_of(9, 1), second = tokens_of(6, 2);
  nn::PackedRow row;
  row.positions = at::cat({at::arange(9, at::kLong), at::arange(6, at::kLong)});
  row.end_position = 9;
  row.segments = {{0, 9, {}}, {9, 6, {}}};
  const at::Tensor packed = decoder->logits(decoder->forward_packed(at::cat({first, second}, 1), row));
  EXPECT_LT(max_difference(packed.narrow(1, 0, 9), logits_of(*decoder, first)), kTolerance);
  EXPECT_LT(max_difference(packed.narrow(1, 9, 6), logits_of(*decoder, second)), kTolerance);
}

TEST(Activations, CachedGenerationEqualsTheWholeTextTokenByToken) {
  for (const char* fixture : {"llama3_rope", "biases"}) {
    for (const ActivationOptions& options : kSettings)
      expect_cached_equals_whole(model_data(fixture), options, 5);
  }
}

TEST(Activations, PackedRowsEqualTheWholeText) {
  for (const ActivationOptions& options : kSettings)
    expect_packed_equals_whole(model_data("llama3_rope"), options);
}

TEST(Activations, GemmaQuantizesAlikeOnEveryWay) {
  const testing::TemporaryFolder folder;
  for (const int generation : {2, 3}) {
    const auto model = testing::write_random_model(folder.path() / concat("gemma", generation),
                                                   testing::gemma_config(generation));
    for (const ActivationOptions& options : kSettings) {
      expect_cached_equals_whole(model, options, 8);
      expect_packed_equals_whole(model, options);
    }
  }
}

// The cache holds values that are on a grid of kv_bits, each token on its own: at most 16 of them.
TEST(Activations, TheCacheHoldsFewValues) {
  const at::NoGradGuard no_grad;
  const auto distinct = [](const Decoder& decoder) {
    nn::KvCache cache = decoder.make_cache();
    decoder.forward(tokens_of(12, 4), &cache);
    std::int64_t most = 0;
    const at::Tensor values = cache.layer(0).contents().second;  // [1, KV, T, D]
    for (std::int64_t t = 0; t < values.size(2); ++t) {
      most = std::max(most, std::get<0>(at::_unique(values.select(2, t).contiguous())).numel());
    }
    return most;
  };
  const testing::TemporaryFolder folder;  // two heads of 16
  const auto decoder =
      load_float_model(testing::write_random_model(folder.path() / "model", testing::small_config()));
  EXPECT_EQ(distinct(*decoder), 32);
  decoder->set_activations({.activation_bits = 16, .kv_bits = 4});
  EXPECT_LE(distinct(*decoder), 16);
}

TEST(Activations, EveryPointHasAnEffect) {
  const at::Tensor tokens = tokens_of(20, 6);
  const at::Tensor all = logits_of(*quantized({.activation_bits = 4, .kv_bits = 4}), tokens);
  const auto decoder = quantized({.activation_bits = 4, .kv_bits = 4});
  EXPECT_EQ(decoder->activation_quantizers().size(), 8U * static_cast<std::size_t>(decoder->num_layers()));
  for (const auto& [name, point] : decoder->layer(0).activation_points()) {
    const auto quantizer = point->quantizer;
    ASSERT_TRUE(quantizer) << name;
    EXPECT_EQ(quantizer->name(), "model.layers.0." + name);
    point->quantizer = nullptr;
    EXPECT_GT(max_difference(logits_of(*decoder, tokens), all), 1e-5) << name;
    point->quantizer = quantizer;
  }
  EXPECT_TRUE(at::equal(logits_of(*decoder, tokens), all));
}

TEST(Activations, BitsGoWhereTheyBelong) {
  const auto bits = [](const ActivationOptions& options) {
    const auto decoder = quantized(options);
    std::vector<int> found;
    for (const auto& [name, point] : decoder->layer(1).activation_points()) {
      found.push_back(point->quantizer ? point->quantizer->num_bits() : 16);
    }
    return found;
  };
  // input, cached keys, cached values, queries, rotated keys, output; MLP input, product
  EXPECT_EQ(bits({.activation_bits = 4, .kv_bits = 8}), (std::vector<int>{4, 8, 8, 8, 8, 4, 4, 4}));
  EXPECT_EQ(bits({.activation_bits = 8, .kv_bits = 4}), (std::vector<int>{8, 4, 4, 8, 8, 8, 8, 8}));
  EXPECT_EQ(bits({.activation_bits = 16, .kv_bits = 4}), (std::vector<int>{16, 4, 4, 16, 16, 16, 16, 16}));
}

TEST(Activations, ABlockMadeAgainGivesTheSameGradients) {
  for (ActivationOptions options : kSettings) {
    options.learn_range = options.range == ActivationRange::fixed;
    const auto decoder = quantized(options);
    std::vector<at::Tensor> learned;
    for (const auto& quantizer : decoder->activation_quantizers()) {
      if (options.learn_range) quantizer->learn();
    }
    for (const auto& parameter : decoder->layer(0).parameters()) learned.push_back(parameter.value);
    EXPECT_EQ(learned.size(), options.learn_range ? 16U : 0U);
    const at::Tensor hidden = decoder->embed(tokens_of(10, 8)).detach().requires_grad_();
    const auto gradients = [&](const at::Tensor& out) {
      std::vector<at::Tensor> inputs = learned;
      inputs.push_back(hidden);
      return torch::autograd::grad({out.square().sum()}, inputs);
    };
    const auto plain = gradients(decoder->layer_forward(0, hidden));
    const auto again = gradients(nn::checkpoint(
        [&](at::TensorList in) { return decoder->layer_forward(0, in[0]); }, {hidden}, learned));
    at::Tensor product;  // of down_proj, kept
    const auto in_part = gradients(nn::checkpoint(
        [&](at::TensorList in) { return decoder->layer_forward(0, in[0], 0, nullptr, &product); }, {hidden},
        learned));
    for (std::size_t i = 0; i < plain.size(); ++i) {
      EXPECT_TRUE(at::equal(plain[i], again[i])) << i;
      EXPECT_TRUE(at::equal(plain[i], in_part[i])) << i;
      const bool is_zero_point = i < learned.size() && i % 2 == 1;  // no gradient where nothing is clipped
      EXPECT_TRUE(is_zero_point || plain[i].abs().max().item<double>() > 0.0) << i;
    }
  }
}

TEST(Activations, WhatIsStoredGivesTheSameModel) {
  const at::Tensor tokens = tokens_of(15, 9);
  for (const ActivationOptions& options : kSettings) {
    const auto decoder = quantized(options);
    const Json json = to_json(stored_activations(*decoder));
    const auto other = load_float_model(model_data("llama3_rope"));
    set_activations(*other, activations_from_json(Json::parse(json.dump()), "config.json"));
    EXPECT_TRUE(at::equal(logits_of(*decoder, tokens), logits_of(*other, tokens))) << json.dump();
    const auto shared = load_float_model(model_data("llama3_rope"));
    shared->share_activations(*decoder);
    EXPECT_TRUE(at::equal(logits_of(*decoder, tokens), logits_of(*shared, tokens)));
  }
}

TEST(Activations, RefusesWhatItCannotBe) {
  Json json = to_json(stored_activations(*quantized(kSettings.back())));
  const auto apply = [](const Json& changed) {
    const auto decoder = load_float_model(model_data("llama3_rope"));
    set_activations(*decoder, activations_from_json(changed, "config.json"));
  };
  apply(json);
  const auto message_of = [&](const std::string& pointer, const Json& value) -> std::string {
    Json changed = json;
    changed[Json::json_pointer(pointer)] = value;
    try {
      apply(changed);
    } catch (const Error& error) {
      return error.what();
    }
    return "none";
  };
  EXPECT_NE(message_of("/kv_bits", 5).find("4, 8 or 16"), std::string::npos);
  EXPECT_NE(message_of("/range", "fast").find("dynamic or static"), std::string::npos);
  EXPECT_NE(message_of("/points/model.layers.9.mlp.input", json["points"]["model.layers.0.mlp.input"])
                .find("belongs to no point"),
            std::string::npos);
  EXPECT_NE(message_of("/points/model.layers.0.mlp.input/scale", -1.0).find("above 0"), std::string::npos);
  json["points"].erase("model.layers.0.mlp.input");
  EXPECT_THROW(apply(json), Error);
}

}  // namespace
}  // namespace lrqat::model
