// GGUF metadata -> ModelConfig (llama.cpp: llama-model.cpp, gguf-py: constants.py for the keys).
#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "lrqat/formats/ggml_blocks.h"
#include "lrqat/formats/gguf_names.h"
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
// from. All published Llama 3.x models use low 1, high 4 over 8192; the factor is the largest divisor. Files
// of ours keep the settings beside the tensor.
void read_rope_divisors(const GgufFile& file, const GgufTensor& tensor, ModelConfig& config) {
  const std::string where = file.path().string() + ": tensor \"rope_freqs.weight\"";
  if (tensor.elements() != config.head_dim / 2 || tensor.shape.size() != 1) {
    fail(where, " has ", tensor.elements(), " elements, expected head_dim / 2 = ", config.head_dim / 2);
  }
  std::vector<float> stored(static_cast<std::size_t>(tensor.elements()));
  dequantize_row(tensor.type, tensor.data.data(), stored.data(), tensor.elements());
  RopeScaling scaling{"llama3", *std::max_element(stored.begin(), stored.end()), 1.0, 4.0, 8192};
  if (file.has(std::string(kLlama3Settings))) {
    const auto settings = file.get<std::vector<float>>(std::string(kLlama3Settings));
    if (settings.size() != 4)
      fail(where, ": ", kLlama3Settings, " has ", settings.size(), " numbers, expected 4");
    scaling = {"llama3", settings[0], settings[1], settings[2], static_cast<std::int64_t>(settings[3])};
  }
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

std::vector<double> rope_factors(const GgufFile& file, const char* name) {
  const GgufTensor& tensor = file.at(name);
  std::vector<float> stored(static_cast<std::size_t>(tensor.elements()));
  dequantize_row(tensor.type, tensor.data.data(), stored.data(), tensor.elements());
  return {stored.begin(), stored.end()};
}

// Two tensors of factors; the context tells which of them holds.
void read_longrope(const GgufFile& file, const std::string& prefix, ModelConfig& config) {
  RopeScaling& scaling = config.rope_scaling;
  scaling.rope_type = "longrope";
  scaling.original_max_position_embeddings =
      file.get<std::int64_t>(prefix + "rope.scaling.original_context_length");
  scaling.factor = static_cast<double>(config.max_position_embeddings) /
                   static_cast<double>(std::max<std::int64_t>(1, scaling.original_max_position_embeddings));
  scaling.attention_factor = file.get_or<double>(prefix + "rope.scaling.attn_factor", 1.0);
  scaling.short_factor = rope_factors(file, "rope_factors_short.weight");
  scaling.long_factor = rope_factors(file, "rope_factors_long.weight");
}

// llama.cpp multiplies attn_factor by yarn's own 1 + ln(factor) / 10.
void read_yarn(const GgufFile& file, const std::string& prefix, ModelConfig& config) {
  RopeScaling& scaling = config.rope_scaling;
  scaling.rope_type = "yarn";
  scaling.factor = file.get<double>(prefix + "rope.scaling.factor");
  scaling.original_max_position_embeddings =
      optional_integer(file, prefix + "rope.scaling.original_context_length")
          .value_or(config.max_position_embeddings);
  scaling.attention_factor =
      yarn_magnitude(scaling.factor) * file.get_or<double>(prefix + "rope.scaling.attn_factor", 1.0);
  scaling.beta_fast = file.get_or<double>(prefix + "rope.scaling.yarn_beta_fast", 32.0);
  scaling.beta_slow = file.get_or<double>(prefix + "rope.scaling.yarn_beta_slow", 1.0);
}

void read_rope(const GgufFile& file, const std::string& prefix, ModelConfig& config) {
  const std::string where = file.path().string();
  config.rope_theta = file.get_or<double>(prefix + "rope.freq_base", config.rope_theta);
  const auto dimensions = optional_integer(file, prefix + "rope.dimension_count").value_or(config.head_dim);
  if (dimensions <= 0 || dimensions > config.head_dim ||
      (dimensions < config.head_dim && family_of(config).interleaved_rotary_rows)) {
    fail(where, ": ", prefix, "rope.dimension_count is ", dimensions, ", expected the whole head, ",
         config.head_dim);
  }
  config.partial_rotary_factor = static_cast<double>(dimensions) / static_cast<double>(config.head_dim);
  if (file.find("rope_factors_long.weight") != nullptr) return read_longrope(file, prefix, config);
  if (const GgufTensor* divisors = file.find("rope_freqs.weight"))
    return read_rope_divisors(file, *divisors, config);
  const auto old_scale = file.get_or<double>(prefix + "rope.scale_linear", 1.0);
  const std::string fallback = old_scale == 1.0 ? "none" : "linear";
  const auto type = file.get_or<std::string>(prefix + "rope.scaling.type", fallback);
  if (file.has(std::string(kDynamicFactor))) {
    config.rope_scaling.rope_type = "dynamic";
    config.rope_scaling.factor = file.get<double>(std::string(kDynamicFactor));
    config.rope_scaling.original_max_position_embeddings = config.max_position_embeddings;
    return;
  }
  if (type == "none") return;
  if (type == "yarn") return read_yarn(file, prefix, config);
  if (type != "linear") {
    fail(where, ": ", prefix, "rope.scaling.type is ", quoted_name(type),
         ", known are none, linear, yarn, and longrope with its two tensors of factors");
  }
  config.rope_scaling.rope_type = "linear";
  config.rope_scaling.factor = file.get_or<double>(prefix + "rope.scaling.factor", old_scale);
}

// Gemma 2 and 3: llama.cpp has the layers with a window and the divisor of scores in its code.
void read_gemma(const GgufFile& file, const std::string& prefix, ModelConfig& config) {
  const ModelFamily& family = family_of(config);
  config.hidden_act = family.hidden_act;
  if (family.window_period == 0) return;
  config.sliding_window = optional_integer(file, prefix + "attention.sliding_window").value_or(4096);
  config.sliding_layers = rope_layers_every(config, family.window_period);
  config.query_pre_attn_scalar = gguf_query_scalar(config);
  const bool second = family.model_type == "gemma2";
  config.attn_logit_softcapping = file.get_or<double>(prefix + "attn_logit_softcapping", second ? 50.0 : 0.0);
  config.final_logit_softcapping =
      file.get_or<double>(prefix + "final_logit_softcapping", second ? 30.0 : 0.0);
  if (family.model_type == "gemma3_text")
    config.rope_local_theta = file.get_or<double>(prefix + "rope.freq_base_swa", 1e4);
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

double yarn_magnitude(double factor) { return factor <= 1 ? 1.0 : 0.1 * std::log(factor) + 1.0; }

// llama-model.cpp: the 27B models by the width of a head as hidden_size gives it, the others by head_dim.
double gguf_query_scalar(const ModelConfig& config) {
  const std::int64_t layers = config.model_type == "gemma2" ? 46 : 62;
  const bool largest = config.num_hidden_layers == layers;
  return static_cast<double>(largest ? config.hidden_size / config.num_attention_heads : config.head_dim);
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
  read_gemma(file, prefix, config);
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
