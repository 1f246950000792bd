// llama.cpp's tensor names against Hugging Face's, and the row order of q and k (convert_hf_to_gguf.py:
// permute).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "lrqat/formats/model_config.h"

namespace lrqat::formats {

// "model.layers.3.self_attn.q_proj.weight" <-> "blk.3.attn_q.weight"; nullopt: no such name in the table.
// A few names mean another tensor in some families; without one the usual meaning holds. Tensors that a
// family has fused are known by their fused names ("self_attn.qkv_proj").
std::optional<std::string> gguf_name(std::string_view hf_name, const ModelFamily* family = nullptr);
std::optional<std::string> hf_name(std::string_view gguf_name, const ModelFamily* family = nullptr);

// A key of ours beside the tensor that llama.cpp has of llama3's rotary embedding: factor, low_freq_factor,
// high_freq_factor, original_max_position_embeddings.
inline constexpr std::string_view kLlama3Settings = "lrqat.rope.llama3";

// Whether GGUF stores this tensor's rows in interleaved rotary order (q_proj and k_proj, weight and bias).
bool is_row_permuted(const ModelConfig& config, std::string_view hf_name);

// Within a head Hugging Face keeps the two halves of each rotary pair head_dim/2 rows apart, llama.cpp side
// by side.
std::int64_t gguf_row_of_hf(std::int64_t hf_row, std::int64_t head_dim);
std::int64_t hf_row_of_gguf(std::int64_t gguf_row, std::int64_t head_dim);

}  // namespace lrqat::formats
