// GGUF metadata -> ModelConfig (llama.cpp: llama-model.cpp, gguf-py: constants.py for the keys).
#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "lrqat/formats/ggml_blocks.h"
#include "lrqat/formats/messages.h"
#include "lrqat/formats/model_config.h"

namespace lrqat::formats {
namespace {

const ModelFamily& family_in(const GgufFile& file) {
  const auto architecture = file.get<std::string>("general.architecture");
  for (const ModelFamily& family : model_families()) {
    if (family.gguf_architecture == architecture) return family;
  }
  fail(file.path().string(), ": general.architecture ", quoted_name(architecture),
       " is not supported, known are ",
       joined(model_families(), [](const ModelFamily& family) { return family.gguf_architecture; }));
}

std::optional<std::int64_t> optional_integer(const GgufFile& file, const std::string& key) {
  if (!file.has(key)) return std::nullopt;
  return file.get<std::int64_t>(key);
}

// llama.cpp stores Llama 3's stretched frequencies as a tensor of divisors and drops the settings they come
// from. All published Llama 3.x models use low 1, high 4 over 8192; the factor is the largest divisor.
void read_rope_divisors(const GgufFile& file, const GgufTensor& tensor, ModelConfig& config) {
  const std::string where = file.path().string() + ": tensor \"rope_freqs.weight\"";
  if (tensor.elements() != config.head_dim / 2 || tensor.shape.size() != 1) {
    fail(where, " has ", tensor.elements(), " elements, expected head_dim / 2 = ", config.head_dim / 2);
  }
  std::vector<float> stored(static_cast<std::size_t>(tensor.elements()));
  dequantize_row(tensor.type, tensor.data.data(), stored.data(), tensor.elements());
  RopeScaling scaling{"llama3", *std::max_element(stored.begin(), stored.end()), 1.0, 4.0, 8192};
  const auto expected = llama3_rope_divisors(config, scaling);
  for (std::size_t i = 0; i < stored.size(); ++i) {
    // float32 arithmetic of the converter: a few parts in 10^6 after the differences above
    if (!(std::fabs(stored[i] - expected[i]) <= 1e-4 * expected[i])) {
      fail(where,
           " is not the table of Llama 3 (low_freq_factor 1, high_freq_factor 4, 8192 positions): divisor ",
           i, " is ", stored[i], ", expected ", expected[i],
           "; use the Hugging Face folder of this model instead");
    }
  }
  config.rope_scaling = scaling;
}

void read_rope(const GgufFile& file, const std::string& prefix, ModelConfig& config) {
  const std::string where = file.path().string();
  config.rope_theta = file.get_or<double>(prefix + "rope.freq_base", config.rope_theta);
  const auto dimensions = optional_integer(file, prefix + "rope.dimension_count").value_or(config.head_dim);
  if (dimensions != config.head_dim) {
    fail(where, ": ", prefix, "rope.dimension_count is ", dimensions, ", expected the whole head, ",
         config.head_dim);
  }
  if (const GgufTensor* divisors = file.find("rope_freqs.weight"))
    return read_rope_divisors(file, *divisors, config);
  const auto old_scale = file.get_or<double>(prefix + "rope.scale_linear", 1.0);
  const std::string fallback = old_scale == 1.0 ? "none" : "linear";
  const auto type = file.get_or<std::string>(prefix + "rope.scaling.type", fallback);
  if (type == "none") return;
  if (type != "linear")
    fail(where, ": ", prefix, "rope.scaling.type is ", quoted_name(type), ", known are none, linear");
  config.rope_scaling.rope_type = "linear";
  config.rope_scaling.factor = file.get_or<double>(prefix + "rope.scaling.factor", old_scale);
}

void read_sizes(const GgufFile& file, const std::string& prefix, ModelConfig& config) {
  config.hidden_size = file.get<std::int64_t>(prefix + "embedding_length");
  config.intermediate_size = file.get<std::int64_t>(prefix + "feed_forward_length");
  config.num_hidden_layers = file.get<std::int64_t>(prefix + "block_count");
  config.num_attention_heads = file.get<std::int64_t>(prefix + "attention.head_count");
  config.num_key_value_heads =
      optional_integer(file, prefix + "attention.head_count_kv").value_or(config.num_attention_heads);
  config.max_position_embeddings = file.get<std::int64_t>(prefix + "context_length");
  config.vocab_size = file.at("token_embd.weight").shape.front();
  const auto head_dim = optional_integer(file, prefix + "attention.key_length");
  if (!head_dim &&
      (config.num_attention_heads <= 0 || config.hidden_size % config.num_attention_heads != 0)) {
    fail(file.path().string(), ": ", prefix, "embedding_length ", config.hidden_size,
         " must be a multiple of attention.head_count ", config.num_attention_heads);
  }
  config.head_dim = head_dim ? *head_dim : config.hidden_size / config.num_attention_heads;
  if (file.get_or<std::int64_t>(prefix + "expert_count", 0) > 0) {
    fail(file.path().string(), ": ", prefix, "expert_count is not 0: mixtures of experts are not supported");
  }
}

}  // namespace

// transformers: modeling_rope_utils._compute_llama3_parameters, as the factor that divides each inverse
// frequency.
std::vector<double> llama3_rope_divisors(const ModelConfig& config, const RopeScaling& scaling) {
  std::vector<double> divisors;
  const auto original = static_cast<double>(scaling.original_max_position_embeddings);
  for (std::int64_t i = 0; i < config.head_dim / 2; ++i) {
    const double exponent = 2.0 * static_cast<double>(i) / static_cast<double>(config.head_dim);
    const double wavelength = 2.0 * std::numbers::pi * std::pow(config.rope_theta, exponent);
    if (wavelength < original / scaling.high_freq_factor) {
      divisors.push_back(1.0);
    } else if (wavelength > original / scaling.low_freq_factor) {
      divisors.push_back(scaling.factor);
    } else {
      const double smooth = (original / wavelength - scaling.low_freq_factor) /
                            (scaling.high_freq_factor - scaling.low_freq_factor);
      divisors.push_back(1.0 / ((1.0 - smooth) / scaling.factor + smooth));
    }
  }
  return divisors;
}

ModelConfig config_from_gguf(const GgufFile& file) {
  const ModelFamily& family = family_in(file);
  const std::string prefix = std::string(family.gguf_architecture) + ".";
  ModelConfig config;
  config.model_type = family.model_type;
  config.architecture = family.architecture;
  read_sizes(file, prefix, config);
  config.rms_norm_eps = file.get<double>(prefix + "attention.layer_norm_rms_epsilon");
  config.attention_bias = file.find("blk.0.attn_q.bias") != nullptr;
  config.mlp_bias = file.find("blk.0.ffn_gate.bias") != nullptr;
  config.tie_word_embeddings = file.find("output.weight") == nullptr;
  config.bos_token_id = optional_integer(file, "tokenizer.ggml.bos_token_id");
  if (const auto eos = optional_integer(file, "tokenizer.ggml.eos_token_id")) config.eos_token_id = {*eos};
  config.pad_token_id = optional_integer(file, "tokenizer.ggml.padding_token_id");
  read_rope(file, prefix, config);
  if (config.model_type == "smollm3")
    config.rope_layers = rope_layers_every(config, 4);  // as llama.cpp has it
  validate_config(config, file.path().string());
  return config;
}

}  // namespace lrqat::formats
