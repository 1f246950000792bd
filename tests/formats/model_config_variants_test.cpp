// Configs as the models' own files have them: which keys are there, which are missing, which are null.
#include <gtest/gtest.h>

#include <cmath>

#include "lrqat/base/error.h"
#include "lrqat/formats/model_config.h"

namespace lrqat::formats {
namespace {

ModelConfig parse(const char* text) {
  return config_from_json(parse_json(text, "config.json"), "config.json");
}

void expect_read_back(const ModelConfig& config) {
  EXPECT_EQ(config_from_json(config_to_json(config), "written"), config);
}

TEST(PublishedConfigs, Llama1) {
  const ModelConfig config = parse(R"({"architectures": ["LLaMAForCausalLM"], "bos_token_id": 0,
      "eos_token_id": 1, "hidden_act": "silu", "hidden_size": 4096, "intermediate_size": 11008,
      "initializer_range": 0.02, "max_sequence_length": 2048, "model_type": "llama", "num_attention_heads": 32,
      "num_hidden_layers": 32, "pad_token_id": -1, "rms_norm_eps": 1e-06, "torch_dtype": "float16",
      "use_cache": true, "vocab_size": 32000})");
  EXPECT_EQ(config.num_key_value_heads, 32);
  EXPECT_EQ(config.head_dim, 128);
  EXPECT_EQ(config.max_position_embeddings, 2048);
  EXPECT_FALSE(config.tie_word_embeddings);
  EXPECT_EQ(config.rope_scaling, RopeScaling{});
  expect_read_back(config);
}

TEST(PublishedConfigs, Llama2WithGroupedQueries) {
  const ModelConfig config = parse(R"({"architectures": ["LlamaForCausalLM"], "bos_token_id": 1,
      "eos_token_id": 2, "hidden_act": "silu", "hidden_size": 8192, "intermediate_size": 28672,
      "max_position_embeddings": 4096, "model_type": "llama", "num_attention_heads": 64,
      "num_hidden_layers": 80, "num_key_value_heads": 8, "pretraining_tp": 1, "rms_norm_eps": 1e-05,
      "rope_scaling": null, "tie_word_embeddings": false, "use_cache": true, "vocab_size": 32000})");
  EXPECT_EQ(config.num_key_value_heads, 8);
  EXPECT_EQ(config.rms_norm_eps, 1e-5);
  EXPECT_EQ(config.sliding_window, std::nullopt);
  expect_read_back(config);
}

TEST(PublishedConfigs, TinyLlamaAndOpenLlama) {
  const ModelConfig tiny = parse(R"({"architectures": ["LlamaForCausalLM"], "attention_bias": false,
      "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu", "hidden_size": 2048,
      "intermediate_size": 5632, "max_position_embeddings": 2048, "model_type": "llama",
      "num_attention_heads": 32, "num_hidden_layers": 22, "num_key_value_heads": 4, "pretraining_tp": 1,
      "rms_norm_eps": 1e-05, "rope_scaling": null, "rope_theta": 10000.0, "tie_word_embeddings": false,
      "vocab_size": 32000})");
  EXPECT_EQ(tiny.head_dim, 64);
  const ModelConfig open = parse(R"({"architectures": ["LlamaForCausalLM"], "bos_token_id": 1,
      "eos_token_id": 2, "hidden_act": "silu", "hidden_size": 3200, "intermediate_size": 8640,
      "max_position_embeddings": 2048, "model_type": "llama", "num_attention_heads": 32,
      "num_hidden_layers": 26, "pad_token_id": 0, "rms_norm_eps": 1e-06, "tie_word_embeddings": false,
      "vocab_size": 32000})");
  EXPECT_EQ(open.head_dim, 100) << "no power of two";
  EXPECT_EQ(open.rope_theta, 10000.0);
  expect_read_back(tiny);
  expect_read_back(open);
}

TEST(PublishedConfigs, Gemma2) {
  const ModelConfig config = parse(R"({"architectures": ["Gemma2ForCausalLM"], "attention_bias": false,
      "attn_logit_softcapping": 50.0, "bos_token_id": 2, "cache_implementation": "hybrid", "eos_token_id": 1,
      "final_logit_softcapping": 30.0, "head_dim": 128, "hidden_act": "gelu_pytorch_tanh",
      "hidden_activation": "gelu_pytorch_tanh", "hidden_size": 4608, "intermediate_size": 36864,
      "max_position_embeddings": 8192, "model_type": "gemma2", "num_attention_heads": 32,
      "num_hidden_layers": 46, "num_key_value_heads": 16, "pad_token_id": 0, "query_pre_attn_scalar": 144,
      "rms_norm_eps": 1e-06, "rope_theta": 10000.0, "sliding_window": 4096, "sliding_window_size": 4096,
      "vocab_size": 256000})");
  EXPECT_TRUE(config.tie_word_embeddings) << "the family's default";
  EXPECT_TRUE(has_sliding_window(config, 0));
  EXPECT_FALSE(has_sliding_window(config, 1));
  EXPECT_NEAR(query_scale(config), std::sqrt(128.0 / 144.0), 1e-15);
  EXPECT_EQ(gguf_query_scalar(config), 144) << "as llama.cpp has it for the 27B model";
  EXPECT_EQ(expected_layer_tensors(config, 0).back().name,
            "model.layers.0.post_feedforward_layernorm.weight");
  expect_read_back(config);
}

TEST(PublishedConfigs, Gemma3InBothSpellings) {
  const ModelConfig old_spelling = parse(R"({"architectures": ["Gemma3ForCausalLM"], "attention_bias": false,
      "attn_logit_softcapping": null, "bos_token_id": 2, "eos_token_id": [1, 106],
      "final_logit_softcapping": null, "head_dim": 256, "hidden_activation": "gelu_pytorch_tanh",
      "hidden_size": 1152, "intermediate_size": 6912, "max_position_embeddings": 32768,
      "model_type": "gemma3_text", "num_attention_heads": 4, "num_hidden_layers": 26,
      "num_key_value_heads": 1, "pad_token_id": 0, "query_pre_attn_scalar": 256, "rms_norm_eps": 1e-06,
      "rope_local_base_freq": 10000, "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
      "rope_theta": 1000000, "sliding_window": 512, "sliding_window_pattern": 6, "vocab_size": 262144})");
  EXPECT_EQ(old_spelling.rope_local_theta, 10000.0);
  EXPECT_EQ(old_spelling.rope_theta, 1e6);
  EXPECT_EQ(old_spelling.rope_scaling.rope_type, "linear");
  EXPECT_EQ(old_spelling.final_logit_softcapping, 0);
  EXPECT_TRUE(has_sliding_window(old_spelling, 4));
  EXPECT_FALSE(has_sliding_window(old_spelling, 5));
  EXPECT_EQ(old_spelling.eos_token_id.size(), 2U);
  expect_read_back(old_spelling);  // written in the new spelling
}

TEST(PublishedConfigs, Phi4MiniTurnsAPartOfEachHead) {
  Json json = parse_json(R"({"architectures": ["Phi3ForCausalLM"], "attention_bias": false,
      "bos_token_id": 199999, "eos_token_id": 199999, "hidden_act": "silu", "hidden_size": 3072,
      "intermediate_size": 8192, "max_position_embeddings": 131072, "model_type": "phi3",
      "num_attention_heads": 24, "num_hidden_layers": 32, "num_key_value_heads": 8,
      "original_max_position_embeddings": 4096, "partial_rotary_factor": 0.75, "rms_norm_eps": 1e-05,
      "rope_theta": 10000.0, "sliding_window": 262144, "tie_word_embeddings": true, "vocab_size": 200064})",
                         "config.json");
  json["rope_scaling"] = {{"type", "longrope"},
                          {"short_factor", std::vector<double>(48, 1.0)},
                          {"long_factor", std::vector<double>(48, 2.0)}};
  const ModelConfig config = config_from_json(json, "config.json");
  EXPECT_EQ(rotary_dimensions(config), 96);
  EXPECT_EQ(config.rope_scaling.original_max_position_embeddings, 4096);
  EXPECT_NEAR(config.rope_scaling.attention_factor, std::sqrt(1 + std::log(32.0) / std::log(4096.0)), 1e-12);
  expect_read_back(config);
}

TEST(PublishedConfigs, MixturesOfExpertsAreRefused) {
  for (const char* text :
       {R"({"model_type": "mixtral", "num_local_experts": 8})", R"({"model_type": "qwen3_moe"})",
        R"({"model_type": "qwen2_moe", "num_experts": 60})", R"({"model_type": "phimoe"})",
        R"({"model_type": "deepseek_v3", "n_routed_experts": 256})"}) {
    try {
      parse(text);
      ADD_FAILURE() << text;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("mixtures of experts are not supported"), std::string::npos)
          << error.what();
    }
  }
}

}  // namespace
}  // namespace lrqat::formats
