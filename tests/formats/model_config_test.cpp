#include "lrqat/formats/model_config.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "lrqat/formats/fused_projections.h"
#include "lrqat/formats/gguf_names.h"
#include "test_files.h"

namespace lrqat::formats {
namespace {

Json small_config() {
  return {{"model_type", "llama"},  {"hidden_size", 64},        {"intermediate_size", 96},
          {"num_hidden_layers", 2}, {"num_attention_heads", 4}, {"vocab_size", 96}};
}

ModelConfig parse(const Json& json) { return config_from_json(json, "config.json"); }

TEST(ModelConfigJson, DefaultsAreThoseOfLlamaConfig) {
  const ModelConfig config = parse(small_config());
  EXPECT_EQ(config.num_key_value_heads, 4);
  EXPECT_EQ(config.head_dim, 16);
  EXPECT_EQ(config.max_position_embeddings, 2048);
  EXPECT_EQ(config.rms_norm_eps, 1e-6);
  EXPECT_EQ(config.rope_theta, 10000.0);
  EXPECT_EQ(config.rope_scaling, RopeScaling{});
  EXPECT_FALSE(config.attention_bias);
  EXPECT_FALSE(config.mlp_bias);
  EXPECT_FALSE(config.tie_word_embeddings);
  EXPECT_EQ(config.hidden_act, "silu");
  EXPECT_EQ(config.bos_token_id, 1);
  EXPECT_EQ(config.eos_token_id, std::vector<std::int64_t>{2});
  Json none = small_config();
  none["bos_token_id"] = none["eos_token_id"] = nullptr;
  EXPECT_EQ(parse(none).bos_token_id, std::nullopt);
  EXPECT_TRUE(parse(none).eos_token_id.empty());
  EXPECT_EQ(parse(config_to_json(parse(none))), parse(none));
}

TEST(ModelConfigJson, ReadsWhatTransformersSaved) {
  const auto path = fixture("tiny_llama/config.json");
  const ModelConfig config = config_from_json(read_json_file(path), path.string());
  EXPECT_EQ(config.num_key_value_heads, 2);
  EXPECT_EQ(config.rope_theta, 50000.0);
  EXPECT_EQ(config.rms_norm_eps, 1e-5);
  EXPECT_EQ(config.eos_token_id, std::vector<std::int64_t>{2});
  EXPECT_EQ(config.bos_token_id, 1);
}

// The rotary settings of Llama 3.2 in the old and in the new spelling.
TEST(ModelConfigJson, BothSpellingsOfTheRotarySettings) {
  const Json scaling{{"rope_type", "llama3"},
                     {"factor", 32.0},
                     {"low_freq_factor", 1.0},
                     {"high_freq_factor", 4.0},
                     {"original_max_position_embeddings", 8192}};
  Json old_spelling = small_config();
  old_spelling["rope_theta"] = 500000.0;
  old_spelling["rope_scaling"] = scaling;
  Json new_spelling = small_config();
  new_spelling["rope_parameters"] = scaling;
  new_spelling["rope_parameters"]["rope_theta"] = 500000.0;
  const ModelConfig config = parse(old_spelling);
  EXPECT_EQ(config, parse(new_spelling));
  EXPECT_EQ(config.rope_theta, 500000.0);
  EXPECT_EQ(config.rope_scaling, (RopeScaling{"llama3", 32.0, 1.0, 4.0, 8192}));

  Json oldest = small_config();
  oldest["rope_scaling"] = {{"type", "linear"}, {"factor", 4}};
  EXPECT_EQ(parse(oldest).rope_scaling.rope_type, "linear");
  EXPECT_EQ(parse(oldest).rope_scaling.factor, 4.0);
  oldest["rope_scaling"] = nullptr;
  EXPECT_EQ(parse(oldest).rope_scaling, RopeScaling{});
}

TEST(ModelConfigJson, WrittenAndReadBackIsTheSame) {
  ModelConfig config = parse(small_config());
  EXPECT_EQ(parse(config_to_json(config)), config);
  config.eos_token_id = {1, 2, 3};
  config.bos_token_id = 0;
  config.pad_token_id = 5;
  config.model_type = "mistral";
  config.architecture = "MistralForCausalLM";
  EXPECT_EQ(parse(config_to_json(config)), config);
  config.sliding_window = 128;
  config.rope_theta = 12345.5;
  config.rope_scaling = {"llama3", 8.0, 1.0, 4.0, 4096};
  config.attention_bias = config.mlp_bias = config.tie_word_embeddings = true;
  EXPECT_EQ(parse(config_to_json(config)), config);
  Json old_spelling = config_to_json(config);
  old_spelling.erase("rope_parameters");
  EXPECT_EQ(parse(old_spelling), config);
  config.rope_scaling = {"linear", 2.0};
  EXPECT_EQ(parse(config_to_json(config)), config);
}

TEST(ModelConfigJson, KeepsEveryRotaryEmbeddingAndWindow) {
  ModelConfig config = parse(small_config());
  config.rope_scaling = {.rope_type = "dynamic",
                         .factor = 2.0,
                         .original_max_position_embeddings = config.max_position_embeddings};
  EXPECT_EQ(parse(config_to_json(config)), config);
  config.rope_scaling = {.rope_type = "yarn",
                         .factor = 2.0,
                         .original_max_position_embeddings = 16,
                         .attention_factor = 1.25,
                         .beta_fast = 20.0,
                         .beta_slow = 2.0,
                         .truncate = false};
  EXPECT_EQ(parse(config_to_json(config)), config);
  config.partial_rotary_factor = 0.5;
  const auto half = static_cast<std::size_t>(rotary_dimensions(config) / 2);
  config.rope_scaling = {.rope_type = "longrope",
                         .factor = 2.0,
                         .original_max_position_embeddings = 16,
                         .attention_factor = 1.25,
                         .short_factor = std::vector<double>(half, 1.0),
                         .long_factor = std::vector<double>(half, 2.5)};
  EXPECT_EQ(parse(config_to_json(config)), config);
  config.model_type = "qwen2";
  config.architecture = "Qwen2ForCausalLM";
  config.attention_bias = true;
  EXPECT_EQ(parse(config_to_json(config)), config);
  config.sliding_window = 8;
  for (std::int64_t i = 0; i < config.num_hidden_layers; ++i) config.sliding_layers.push_back(i % 2 == 1);
  EXPECT_EQ(parse(config_to_json(config)), config);
  EXPECT_FALSE(has_sliding_window(config, 0));
  EXPECT_TRUE(has_sliding_window(config, 1));
}

struct BadConfig {
  const char* name;
  Json changes;  // null removes the key
  std::vector<std::string> message;
};

std::vector<BadConfig> bad_configs() {
  const Json half_llama3{{"rope_type", "llama3"}, {"factor", 8}};
  const Json twisted{{"rope_type", "llama3"},
                     {"factor", 8},
                     {"low_freq_factor", 4},
                     {"high_freq_factor", 1},
                     {"original_max_position_embeddings", 8192}};
  return {
      {"no_model_type", {{"model_type", nullptr}}, {"model_type"}},
      {"unknown_model_type", {{"model_type", "mamba"}}, {"\"mamba\" is not supported", "known are llama"}},
      {"model_type_a_number", {{"model_type", 3}}, {"model_type"}},
      {"other_architecture",
       {{"architectures", {"LlamaForSequenceClassification"}}},
       {"LlamaForSequenceClassification", "expected \"LlamaForCausalLM\""}},
      {"no_hidden_size", {{"hidden_size", nullptr}}, {"\"hidden_size\" is missing"}},
      {"hidden_size_a_string", {{"hidden_size", "64"}}, {"\"hidden_size\"", "whole number"}},
      {"hidden_size_a_fraction", {{"hidden_size", 64.5}}, {"\"hidden_size\" is 64.5"}},
      {"hidden_size_zero", {{"hidden_size", 0}}, {"hidden_size is 0"}},
      {"layers_negative", {{"num_hidden_layers", -1}}, {"num_hidden_layers is -1"}},
      {"layers_absurd",
       {{"num_hidden_layers", 1LL << 30}},
       {"num_hidden_layers is 1073741824", "at most 10000"}},
      {"vocabulary_absurd", {{"vocab_size", 1LL << 40}}, {"vocab_size is 1099511627776"}},
      {"heads_zero", {{"num_attention_heads", 0}}, {"num_attention_heads 0"}},
      {"heads_do_not_divide", {{"num_attention_heads", 5}}, {"hidden_size 64", "num_attention_heads 5"}},
      {"kv_heads_do_not_divide",
       {{"num_key_value_heads", 3}},
       {"num_attention_heads 4", "num_key_value_heads 3"}},
      {"kv_heads_zero", {{"num_key_value_heads", 0}}, {"num_key_value_heads is 0"}},
      {"head_dim_odd", {{"head_dim", 15}}, {"head_dim is 15", "even"}},
      {"eps_zero", {{"rms_norm_eps", 0}}, {"rms_norm_eps is 0"}},
      {"theta_negative", {{"rope_theta", -1}}, {"rope_theta is -1"}},
      {"unknown_activation", {{"hidden_act", "gelu"}}, {"hidden_act is \"gelu\"", "known are silu"}},
      {"unknown_rope_type",
       {{"rope_scaling", {{"rope_type", "ntk"}, {"factor", 4}}}},
       {"rope_type is \"ntk\"", "known are default, linear, llama3, dynamic, yarn, longrope"}},
      {"rope_factor_missing", {{"rope_scaling", {{"rope_type", "linear"}}}}, {"\"factor\" is missing"}},
      {"rope_factor_zero",
       {{"rope_scaling", {{"type", "linear"}, {"factor", 0}}}},
       {"rope_scaling.factor is 0"}},
      {"llama3_incomplete", {{"rope_scaling", half_llama3}}, {"\"low_freq_factor\" is missing"}},
      {"llama3_twisted", {{"rope_scaling", twisted}}, {"high_freq_factor is 1"}},
      {"rope_scaling_a_list", {{"rope_scaling", {1}}}, {"rope_scaling", "object"}},
      {"partial_rotary",
       {{"rope_parameters", {{"rope_type", "default"}, {"partial_rotary_factor", 0.2}}}},
       {"partial_rotary_factor is 0.2", "even number"}},
      {"longrope_without_factors",
       {{"rope_scaling", {{"rope_type", "longrope"}, {"long_factor", {1, 2}}}}},
       {"\"short_factor\" is missing"}},
      {"longrope_with_few_factors",
       {{"rope_scaling", {{"rope_type", "longrope"}, {"long_factor", {1, 2}}, {"short_factor", {1, 2}}}}},
       {"2 and 2 numbers"}},
      {"experts", {{"num_local_experts", 8}}, {"mixtures of experts are not supported"}},
      {"mixtral", {{"model_type", "mixtral"}}, {"mixtures of experts are not supported"}},
      {"bias_a_number", {{"attention_bias", 1}}, {"attention_bias"}},
      {"eos_beyond_vocabulary", {{"eos_token_id", {1, 96}}}, {"eos_token_id is 96", "95"}},
      {"eos_a_string", {{"eos_token_id", "</s>"}}, {"eos_token_id", "whole number"}},
  };
}

class BadModelConfig : public testing::TestWithParam<BadConfig> {};

TEST_P(BadModelConfig, OneClearError) {
  Json json = small_config();
  for (const auto& [key, value] : GetParam().changes.items()) {
    if (value.is_null()) {
      json.erase(key);
    } else {
      json[key] = value;
    }
  }
  std::vector<std::string> parts = GetParam().message;
  parts.push_back("config.json");
  expect_error([&] { parse(json); }, parts);
}

INSTANTIATE_TEST_SUITE_P(Table, BadModelConfig, testing::ValuesIn(bad_configs()),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(ModelConfigJson, NotAnObject) {
  expect_error([] { parse(Json::array()); }, {"JSON object", "array"});
}

TEST(ExpectedTensors, AreTheStateDictOfTransformers) {
  const auto path = fixture("tiny_llama/config.json");
  const ModelConfig config = config_from_json(read_json_file(path), path.string());
  const auto tensors = expected_tensors(config);
  ASSERT_EQ(tensors.size(), 21U);
  EXPECT_EQ(tensors.front().name, "model.embed_tokens.weight");
  EXPECT_EQ(tensors.back(), (ExpectedTensor{"lm_head.weight", {96, 64}}));
  const auto layer = expected_layer_tensors(config, 1);
  EXPECT_EQ(layer[2], (ExpectedTensor{"model.layers.1.self_attn.k_proj.weight", {32, 64}}));
}

TEST(GgufNames, BothDirections) {
  const auto path = fixture("tiny_llama/config.json");
  ModelConfig config = config_from_json(read_json_file(path), path.string());
  config.attention_bias = config.mlp_bias = true;
  for (const ExpectedTensor& tensor : expected_tensors(config)) {
    const auto name = gguf_name(tensor.name);
    ASSERT_TRUE(name) << tensor.name;
    EXPECT_EQ(hf_name(*name), tensor.name);
  }
  for (const ModelFamily& family : model_families()) {
    ModelConfig other = config;
    other.model_type = family.model_type;
    other.attention_bias = other.mlp_bias = false;
    for (const ExpectedTensor& tensor : expected_file_tensors(other)) {
      const auto name = gguf_name(tensor.name, &family);
      ASSERT_TRUE(name) << tensor.name;
      EXPECT_EQ(hf_name(*name, &family), tensor.name);
    }
  }
  EXPECT_EQ(gguf_name("model.layers.0.mlp.gate_up_proj.weight"), std::nullopt) << "of fused families only";
  EXPECT_EQ(gguf_name("model.layers.12.self_attn.o_proj.bias"), "blk.12.attn_output.bias");
  for (const char* name : {"model.layers.x.mlp.up_proj.weight", "model.layers.01.mlp.up_proj.weight",
                           "model.layers.1.mlp.up_proj", "model.layers.1.mlp.up_proj.scale",
                           "blk.0.attn_q.weight", "", "model.layers.1234567890123.mlp.up_proj.weight"}) {
    EXPECT_EQ(gguf_name(name), std::nullopt) << name;
  }
  EXPECT_TRUE(is_row_permuted(config, "model.layers.0.self_attn.q_proj.weight"));
  EXPECT_TRUE(is_row_permuted(config, "model.layers.0.self_attn.k_proj.bias"));
  EXPECT_FALSE(is_row_permuted(config, "model.layers.0.self_attn.v_proj.weight"));
}

TEST(GgufNames, RowPermutationIsABijectionWithinHeads) {
  constexpr std::int64_t kHeadDim = 6;
  std::vector<std::int64_t> stored;
  for (std::int64_t row = 0; row < 2 * kHeadDim; ++row) {
    stored.push_back(gguf_row_of_hf(row, kHeadDim));
    EXPECT_EQ(hf_row_of_gguf(stored.back(), kHeadDim), row);
  }
  EXPECT_EQ(stored, (std::vector<std::int64_t>{0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11}));
}

// A GGUF file with a Llama's metadata and an embedding, to be varied.
class GgufConfig : public testing::Test {
 protected:
  ModelConfig read(const std::vector<std::pair<std::string, GgufValue>>& more,
                   const std::vector<float>& rope_freqs = {}) {
    const auto path = folder_.path() / concat("config", count_++, ".gguf");
    GgufWriter writer(path);
    std::vector<std::pair<std::string, GgufValue>> values{
        {"general.architecture", std::string("llama")},    {"llama.block_count", std::uint32_t{2}},
        {"llama.context_length", std::uint32_t{128}},      {"llama.embedding_length", std::uint32_t{512}},
        {"llama.feed_forward_length", std::uint32_t{96}},  {"llama.attention.head_count", std::uint32_t{4}},
        {"llama.attention.layer_norm_rms_epsilon", 1e-5F},
    };
    for (const auto& [key, value] : more) {
      std::erase_if(values, [&key = key](const auto& pair) { return pair.first == key; });
      values.emplace_back(key, value);
    }
    for (const auto& [key, value] : values) writer.set(key, value);
    const std::vector<float> embedding(96 * 512);
    writer.declare("token_embd.weight", GgmlType::F32, {96, 512});
    if (!rope_freqs.empty()) {
      writer.declare("rope_freqs.weight", GgmlType::F32, {static_cast<std::int64_t>(rope_freqs.size())});
    }
    writer.write("token_embd.weight", as_bytes(embedding));
    if (!rope_freqs.empty()) writer.write("rope_freqs.weight", as_bytes(rope_freqs));
    writer.finish();
    return config_from_gguf(GgufFile(path));
  }

  // Llama 3.2's table as convert_hf_to_gguf.py writes it (generate_extra_tensors), in float32.
  static std::vector<float> llama3_freqs(float factor, float theta, int head_dim) {
    std::vector<float> divisors;
    for (int i = 0; i < head_dim; i += 2) {
      const float frequency = 1.0F / std::pow(theta, static_cast<float>(i) / static_cast<float>(head_dim));
      const float wavelength = 2.0F * std::numbers::pi_v<float> / frequency;
      const float smooth = (8192.0F / wavelength - 1.0F) / (4.0F - 1.0F);
      divisors.push_back(wavelength < 8192.0F / 4.0F   ? 1.0F
                         : wavelength > 8192.0F / 1.0F ? factor
                                                       : 1.0F / ((1.0F - smooth) / factor + smooth));
    }
    return divisors;
  }

  TemporaryFolder folder_;
  int count_ = 0;
};

TEST_F(GgufConfig, Defaults) {
  const ModelConfig config = read({});
  EXPECT_EQ(config.num_key_value_heads, 4);
  EXPECT_EQ(config.head_dim, 128);
  EXPECT_EQ(config.vocab_size, 96);
  EXPECT_EQ(config.rope_theta, 10000.0);
  EXPECT_TRUE(config.tie_word_embeddings);  // no output.weight
  EXPECT_EQ(read({{"llama.attention.key_length", std::uint32_t{32}}}).head_dim, 32);
}

TEST_F(GgufConfig, LinearScaling) {
  const ModelConfig config =
      read({{"llama.rope.scaling.type", std::string("linear")}, {"llama.rope.scaling.factor", 4.0F}});
  EXPECT_EQ(config.rope_scaling.rope_type, "linear");
  EXPECT_EQ(config.rope_scaling.factor, 4.0);
  EXPECT_EQ(read({{"llama.rope.scale_linear", 2.0F}}).rope_scaling.factor, 2.0);
}

TEST_F(GgufConfig, YarnAndDynamic) {
  const ModelConfig yarn = read({{"llama.rope.scaling.type", std::string("yarn")},
                                 {"llama.rope.scaling.factor", 4.0F},
                                 {"llama.rope.scaling.original_context_length", std::uint32_t{64}},
                                 {"llama.rope.scaling.attn_factor", 0.5F},
                                 {"llama.rope.scaling.yarn_beta_fast", 16.0F}});
  EXPECT_EQ(yarn.rope_scaling.rope_type, "yarn");
  EXPECT_EQ(yarn.rope_scaling.original_max_position_embeddings, 64);
  EXPECT_NEAR(yarn.rope_scaling.attention_factor, 0.5 * yarn_magnitude(4.0), 1e-12);
  EXPECT_EQ(yarn.rope_scaling.beta_fast, 16.0);
  const ModelConfig dynamic = read({{std::string(kDynamicFactor), 2.0F}});
  EXPECT_EQ(dynamic.rope_scaling.rope_type, "dynamic");
  EXPECT_EQ(dynamic.rope_scaling.original_max_position_embeddings, dynamic.max_position_embeddings);
}

TEST_F(GgufConfig, LlamaThreeIsRecognisedByItsTable) {
  const auto divisors = llama3_freqs(32.0F, 500000.0F, 128);
  const ModelConfig config = read({{"llama.rope.freq_base", 500000.0F}}, divisors);
  EXPECT_EQ(config.rope_scaling, (RopeScaling{"llama3", 32.0, 1.0, 4.0, 8192}));
  auto wrong = divisors;
  wrong[30] *= 1.01F;
  expect_error(
      [&] {
        read({{"llama.rope.freq_base", 500000.0F}}, wrong);
      },
      {"rope_freqs.weight", "divisor 30"});
  wrong.pop_back();
  expect_error([&] { read({}, wrong); }, {"63 elements", "expected head_dim / 2 = 64"});
}

TEST_F(GgufConfig, Mistakes) {
  expect_error([&] { read({{"general.architecture", std::string("mamba")}}); }, {"mamba", "known are llama"});
  expect_error(
      [&] {
        read({{"llama.rope.scaling.type", std::string("spiral")}});
      },
      {"spiral", "known are none, linear, yarn"});
  expect_error(
      [&] {
        read({{"llama.rope.dimension_count", std::uint32_t{64}}});
      },
      {"dimension_count is 64", "128"});
  expect_error([&] { read({{"llama.attention.head_count", std::uint32_t{3}}}); }, {"embedding_length 512"});
  expect_error([&] { read({{"llama.expert_count", std::uint32_t{8}}}); }, {"expert_count"});
  expect_error(
      [&] {
        read({{"llama.block_count", std::string("two")}});
      },
      {"llama.block_count", "of type string"});
}

}  // namespace
}  // namespace lrqat::formats
