// Rotations change no function: the float model's logits before and after, for every family that has
// something of its own.
#include "lrqat/model/rotations.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <map>

#include "lrqat/base/error.h"
#include "lrqat/model/build.h"
#include "lrqat/model/converted.h"
#include "lrqat/model/integer_source.h"
#include "lrqat/model/load.h"
#include "lrqat/model/open.h"
#include "tests/model/fixtures.h"
#include "tests/model/random_model.h"

namespace lrqat::model {
namespace {

using testing::max_difference;
using testing::small_config;

constexpr double kTolerance = 3e-5;  // of logits of order 1, in float32

at::Tensor logits_of(const Decoder& decoder) {
  const at::NoGradGuard no_grad;
  at::manual_seed(5);
  const at::Tensor tokens = at::randint(0, 60, {2, 24}, at::kLong);
  return decoder.logits(decoder.forward(tokens));
}

formats::ModelConfig family(const std::string& model_type, const std::string& architecture) {
  formats::ModelConfig config = small_config();
  config.model_type = model_type;
  config.architecture = architecture;
  return config;
}

struct Case {
  std::string name;
  formats::ModelConfig config;
};

std::vector<Case> cases() {
  std::vector<Case> all{{"llama, untied", small_config()}, {"llama with biases", testing::full_config()}};
  formats::ModelConfig tied = small_config();
  tied.tie_word_embeddings = true;
  all.push_back({"llama, tied", tied});
  tied.num_attention_heads = 6;  // shared by 3, of another width than hidden_size / heads
  tied.intermediate_size = 144;
  all.push_back({"six heads on two", tied});
  formats::ModelConfig single = small_config();
  single.num_key_value_heads = 4;
  single.hidden_size = 48;
  all.push_back({"a head of values each, hidden 12·4", single});
  formats::ModelConfig qwen2 = family("qwen2", "Qwen2ForCausalLM");
  qwen2.tie_word_embeddings = qwen2.attention_bias = true;
  all.push_back({"qwen2, biases of q, k and v", qwen2});
  all.push_back({"qwen3, norms of heads", family("qwen3", "Qwen3ForCausalLM")});
  formats::ModelConfig gemma = family("gemma", "GemmaForCausalLM");
  gemma.tie_word_embeddings = true;
  gemma.hidden_act = "gelu_pytorch_tanh";
  all.push_back({"gemma, norms of 1 + weight, scaled embeddings", gemma});
  return all;
}

void expect_same_logits(const Case& one, std::initializer_list<const char*> names) {
  const testing::TemporaryFolder folder;
  const SharedSource source(
      formats::open_weight_source(testing::write_random_model(folder.path() / "model", one.config)));
  const at::Tensor plain = logits_of(*load_float_model(source));
  const double tolerance = kTolerance * (1 + plain.abs().max().item<double>());
  for (const char* name : names) {
    const SharedSource turned = rotate(source, parse_rotations(name), 7);
    EXPECT_LT(max_difference(logits_of(*load_float_model(turned)), plain), tolerance)
        << one.name << ": " << name;
  }
}

TEST(Rotations, ChangeNoLogits) {
  for (const Case& one : cases()) expect_same_logits(one, {"r1", "r2", "r3", "r4", "absorbed", "all"});
  for (const int generation : {2, 3})
    expect_same_logits({"gemma", testing::gemma_config(generation)}, {"r2", "r3", "r4", "r2,r3,r4"});
}

// A model in which one channel of each MLP's product stands out, as in large models.
SharedSource with_outliers(const std::filesystem::path& folder) {
  const formats::ModelConfig config = small_config();
  const SharedSource source(formats::open_weight_source(testing::write_random_model(folder, config)));
  std::map<std::string, at::Tensor> tensors;
  for (const std::string& name : source->names()) tensors[name] = read_tensor(*source, name);
  for (const char* layer : {"model.layers.0.", "model.layers.1."}) {
    tensors.at(layer + std::string("mlp.up_proj.weight")).select(0, 3).mul_(50);
    tensors.at(layer + std::string("mlp.down_proj.weight")).select(1, 3).div_(50);
  }
  const auto provider = float_weights([&](const std::string& name) { return tensors.at(name); });
  return source_of(folder, build_decoder(config, provider, ops::ComputeType::float32));
}

// Of what the first MLP adds, relative, with down_proj's input in so many bits.
double error_of(const SharedSource& source, std::int8_t down_bits) {
  const at::NoGradGuard no_grad;
  const auto decoder = load_float_model(source);
  at::manual_seed(2);
  const at::Tensor hidden = at::randn({1, 24, 64});
  const at::Tensor exact = decoder->layer(0).feed_forward(hidden) - hidden;
  decoder->set_activations({.down_bits = down_bits});
  return ((decoder->layer(0).feed_forward(hidden) - hidden - exact).norm() / exact.norm()).item<double>();
}

TEST(Rotations, LowerTheErrorWhereAChannelStandsOut) {
  const testing::TemporaryFolder folder;
  const SharedSource plain = with_outliers(folder.path() / "model");
  const SharedSource turned = rotate(plain, parse_rotations("r4"), 1);
  const double without = error_of(plain, 4), with = error_of(turned, 4);
  EXPECT_LT(with, 0.5 * without) << without;
  EXPECT_LT(error_of(turned, 8), 0.2 * with) << with;
}

// Negative controls: without the part of a rotation in the forward pass, and weights that did change.
TEST(Rotations, NeedWhatStandsInTheForwardPass) {
  const testing::TemporaryFolder folder;
  const SharedSource source(
      formats::open_weight_source(testing::write_random_model(folder.path() / "model", small_config())));
  const SharedSource turned = rotate(source, parse_rotations("all"), 7);
  EXPECT_TRUE(turned->config().rotated_heads && turned->config().rotated_product);
  const SharedSource down = rotate(source, parse_rotations("r4"), 7);
  const std::string name = "model.layers.1.mlp.down_proj.weight";
  EXPECT_GT(max_difference(read_tensor(*down, name), read_tensor(*source, name)), 0.1);
  for (const char* other : {"model.embed_tokens.weight", "model.layers.0.self_attn.v_proj.weight",
                            "model.layers.0.self_attn.o_proj.weight", "model.layers.1.mlp.up_proj.weight"}) {
    EXPECT_GT(max_difference(read_tensor(*turned, other), read_tensor(*source, other)), 0.1) << other;
    EXPECT_EQ(max_difference(read_tensor(*down, other), read_tensor(*source, other)), 0.0) << other;
  }
  const at::Tensor ones = read_tensor(*turned, "model.layers.0.input_layernorm.weight");
  EXPECT_TRUE(at::equal(ones, at::ones_like(ones)));
}

TEST(Rotations, TakeTheirSignsFromTheSeed) {
  const testing::TemporaryFolder folder;
  const SharedSource source(
      formats::open_weight_source(testing::write_random_model(folder.path() / "model", small_config())));
  const auto embedding = [&](std::uint64_t seed) {
    return read_tensor(*rotate(source, parse_rotations("r1"), seed), "model.embed_tokens.weight");
  };
  EXPECT_EQ(max_difference(embedding(3), embedding(3)), 0.0);
  EXPECT_GT(max_difference(embedding(3), embedding(4)), 0.1);
}

TEST(Rotations, RefuseWhatTheyCannotDo) {
  const testing::TemporaryFolder folder;
  const auto message = [&](const formats::ModelConfig& config, const char* rotations) -> std::string {
    static int count = 0;
    const auto path = testing::write_random_model(folder.path() / concat("model", count++), config);
    try {
      rotate(SharedSource(formats::open_weight_source(path)), parse_rotations(rotations), 0);
    } catch (const Error& error) {
      return error.what();
    }
    return {};
  };
  EXPECT_NE(message(testing::gemma_config(2), "all").find("norms behind attention and MLP"),
            std::string::npos);
  EXPECT_EQ(message(testing::gemma_config(2), "r2,r3,r4"), "");
  formats::ModelConfig odd = small_config();
  odd.intermediate_size = 162;
  EXPECT_NE(message(odd, "r4").find("order 162 (intermediate_size"), std::string::npos);
  EXPECT_EQ(message(odd, "r1,r2,r3"), "");
  for (const char* text : {"", "r5", "r1,", "R1", "absorbed,r4"})
    EXPECT_THROW(parse_rotations(text), UsageError) << text;
  for (const char* text : {"none", "absorbed", "all", "r4", "r1,r3"})
    EXPECT_EQ(rotations_name(parse_rotations(text)), text);
  EXPECT_EQ(rotations_name(parse_rotations("r2,r1")), "absorbed");
}

// A converted folder keeps what stands in the forward pass, and an untied head.
TEST(Rotations, AreKeptByConvertedFolders) {
  const testing::TemporaryFolder folder;
  formats::ModelConfig config = small_config();
  config.tie_word_embeddings = true;
  const SharedSource source(
      formats::open_weight_source(testing::write_random_model(folder.path() / "model", config)));
  const SharedSource turned = rotate(source, parse_rotations("all"), 7);
  const auto decoder = load_float_model(turned);
  std::uint64_t seed = 0;
  prepare(*decoder, *turned, [&](const std::string& name, const at::Tensor& weight) {
    return std::make_shared<quant::IntegerWeight>(
        name, testing::random_integers(weight.size(0), weight.size(1), 4, "channel", ++seed));
  });
  decoder->set_activations({.activation_bits = 4, .kv_bits = 4, .down_bits = 8});
  save_converted(*decoder, *turned, folder.path() / "converted");
  const OpenedModel opened = open_model(folder.path() / "converted");
  EXPECT_EQ(max_difference(logits_of(*opened.decoder), logits_of(*decoder)), 0.0);
  EXPECT_EQ(opened.decoder->activations(), decoder->activations());
  EXPECT_EQ(rotations_name(online_rotations(opened.decoder->config())), "r3,r4");
  EXPECT_FALSE(opened.decoder->config().tie_word_embeddings);
  const SharedSource again = open_source(folder.path() / "converted");
  EXPECT_THROW(rotate(again, parse_rotations("r4"), 0), Error);
}

}  // namespace
}  // namespace lrqat::model
