// Test helper: a small Hugging Face model with random weights, and the same with random integers in its
// linears.
#pragma once

#include <ATen/ATen.h>

#include <filesystem>
#include <string>
#include <vector>

#include "lrqat/base/file.h"
#include "lrqat/base/half.h"
#include "lrqat/base/random.h"
#include "lrqat/formats/safetensors.h"
#include "lrqat/model/open.h"
#include "lrqat/model/prepare.h"
#include "lrqat/quant/integer_weight.h"

namespace lrqat::model::testing {

// in_features are multiples of 32, a head is half a block wide.
inline formats::ModelConfig small_config() {
  formats::ModelConfig config;
  config.hidden_size = 64;
  config.intermediate_size = 96;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 4;
  config.num_key_value_heads = 2;
  config.head_dim = 16;
  config.vocab_size = 80;
  config.max_position_embeddings = 256;
  return config;
}

// Everything that a GGUF file has to say in a way of its own: biases, an untied head, Llama 3's rotary
// embedding.
inline formats::ModelConfig full_config() {
  formats::ModelConfig config = small_config();
  config.attention_bias = config.mlp_bias = true;
  config.rope_theta = 500000.0;
  config.rope_scaling = {"llama3", 8.0, 1.0, 4.0, 8192};  // the table that a GGUF file is recognised by
  return config;
}

// What the Gemma families have of their own, with a window in the first layer: norms on both sides of the
// MLP, GELU, other scores; soft-capping (2), norms of heads and a rotary embedding of the window's layers
// (3).
inline formats::ModelConfig gemma_config(int generation) {
  formats::ModelConfig config = small_config();
  config.model_type = generation == 2 ? "gemma2" : "gemma3_text";
  config.architecture = generation == 2 ? "Gemma2ForCausalLM" : "Gemma3ForCausalLM";
  config.hidden_act = "gelu_pytorch_tanh";
  config.tie_word_embeddings = true;
  config.sliding_window = 6;
  config.sliding_layers = {true, false};
  config.query_pre_attn_scalar = 10;
  if (generation == 2) {
    config.attn_logit_softcapping = 5;
    config.final_logit_softcapping = 8;
  } else {
    config.rope_theta = 1e6;
    config.rope_local_theta = 1e4;
  }
  return config;
}

inline std::vector<std::byte> random_values(std::int64_t count, formats::DType dtype, Random& random) {
  std::vector<std::byte> bytes;
  for (std::int64_t i = 0; i < count; ++i) {
    const auto value = static_cast<float>(random.uniform() - 0.5);
    const auto append = [&](const auto& stored) {
      const auto part = std::as_bytes(std::span(&stored, 1));
      bytes.insert(bytes.end(), part.begin(), part.end());
    };
    if (dtype == formats::DType::F32) append(value);
    if (dtype == formats::DType::F16) append(float_to_float16(value));
    if (dtype == formats::DType::BF16) append(float_to_bfloat16(value));
  }
  return bytes;
}

inline std::filesystem::path write_random_model(const std::filesystem::path& folder,
                                                const formats::ModelConfig& config,
                                                formats::DType dtype = formats::DType::F32) {
  std::filesystem::create_directories(folder);
  std::vector<formats::TensorDeclaration> declared;
  for (const auto& tensor : formats::expected_tensors(config))
    declared.push_back({tensor.name, dtype, tensor.shape});
  formats::SafetensorsWriter writer(folder / "model.safetensors", declared);
  Random random(17);
  for (const auto& tensor : declared) {
    std::int64_t count = 1;
    for (const std::int64_t size : tensor.shape) count *= size;
    writer.write(tensor.name, random_values(count, dtype, random));
  }
  writer.finish();
  write_text_file(folder / "config.json", formats::config_to_json(config).dump(2));
  return folder;
}

// Every code of the grid, and scales that float16 holds.
inline quant::QuantizedWeight random_integers(std::int64_t rows, std::int64_t cols, int num_bits,
                                              const std::string& granularity, std::uint64_t seed) {
  const auto grid = quant::Grid::signed_symmetric(num_bits);
  const auto sharing = quant::Granularity::parse(granularity);
  const auto shape = sharing.scale_shape(rows, cols);
  Random random(seed, static_cast<std::uint64_t>(rows * 1000 + cols));
  at::Tensor codes = at::empty({rows, cols}, at::kChar), scale = at::empty({shape[0], shape[1]}, at::kFloat);
  for (std::int64_t i = 0; i < codes.numel(); ++i) {
    const auto code = static_cast<int>(random.below(std::uint64_t{1} << num_bits)) + grid.quant_min;
    codes.data_ptr<std::int8_t>()[i] = static_cast<std::int8_t>(code);
  }
  for (std::int64_t i = 0; i < scale.numel(); ++i) {
    const auto value = static_cast<float>(0.001 + 0.1 * random.uniform());
    scale.data_ptr<float>()[i] = float16_to_float(float_to_float16(value));
  }
  return {grid, sharing, codes, scale, 0.125};
}

// The model in `folder` with random integers in every linear, each layer its own.
inline OpenedModel open_with_integers(const std::filesystem::path& folder, int num_bits,
                                      const std::string& granularity) {
  OpenedModel model = open_model(folder);
  std::uint64_t seed = 0;
  prepare(*model.decoder, *model.source, [&](const std::string& name, const at::Tensor& weight) {
    return std::make_shared<quant::IntegerWeight>(
        name, random_integers(weight.size(0), weight.size(1), num_bits, granularity, ++seed));
  });
  return model;
}

inline at::Tensor product(const quant::QuantizedWeight& weight) {
  const auto rows = weight.weight_int.size(0), cols = weight.weight_int.size(1);
  const at::Tensor scale = weight.scale.repeat_interleave(cols / weight.scale.size(1), 1);
  return weight.weight_int.to(at::kFloat) * scale.expand({rows, cols});
}

}  // namespace lrqat::model::testing
