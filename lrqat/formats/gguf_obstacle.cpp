#include "lrqat/formats/gguf_obstacle.h"

#include "lrqat/base/error.h"

namespace lrqat::formats {
namespace {

constexpr const char* kHeld = "; compressed-tensors, gptq, awq and hf hold this model";

// What llama.cpp has fixed in its code for Gemma 2 and 3.
std::string gemma_obstacle(const ModelConfig& config) {
  const ModelFamily& family = family_of(config);
  if (family.window_period == 0) return {};
  if (!config.sliding_window || config.sliding_layers != rope_layers_every(config, family.window_period)) {
    return concat("layers with a sliding window other than all but each ", family.window_period,
                  "th are not written to GGUF for model_type \"", config.model_type, "\"", kHeld);
  }
  const double scalar =
      config.query_pre_attn_scalar == 0 ? static_cast<double>(config.head_dim) : config.query_pre_attn_scalar;
  if (scalar != gguf_query_scalar(config)) {
    return concat("query_pre_attn_scalar ", scalar,
                  " is not written to GGUF: llama.cpp divides by the root of ", gguf_query_scalar(config),
                  kHeld);
  }
  const bool second = family.model_type == "gemma2";
  if (second != (config.attn_logit_softcapping > 0) || (second && config.final_logit_softcapping == 0)) {
    return concat("llama.cpp caps attention scores in gemma2 alone, and always there", kHeld);
  }
  return {};
}

}  // namespace

std::string gguf_obstacle(const ModelConfig& config) {
  const ModelFamily& family = family_of(config);
  const RopeScaling& scaling = config.rope_scaling;
  if (scaling.rope_type == "yarn" && !scaling.truncate)
    return concat("yarn with truncate false is not written to GGUF", kHeld);
  if (family.tied && !config.tie_word_embeddings) {
    return concat("a head of its own is not written to GGUF for model_type \"", config.model_type, "\"",
                  kHeld);
  }
  if (const std::string of_gemma = gemma_obstacle(config); !of_gemma.empty()) return of_gemma;
  if (!config.rope_layers.empty() && config.rope_layers != rope_layers_every(config, 4)) {
    return concat("layers without a rotary embedding other than each fourth one are not written to GGUF",
                  kHeld);
  }
  // llama.cpp ends with an assertion for the other families.
  if (config.partial_rotary_factor != 1.0 && !family.fused_projections) {
    return concat("a rotary embedding of a part of each head is not written to GGUF for model_type \"",
                  config.model_type, "\"", kHeld);
  }
  return {};
}

}  // namespace lrqat::formats
