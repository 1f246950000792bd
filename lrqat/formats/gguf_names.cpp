#include "lrqat/formats/gguf_names.h"

#include <algorithm>
#include <array>
#include <span>

#include "lrqat/base/error.h"

namespace lrqat::formats {
namespace {

struct NamePair {
  std::string_view hf;
  std::string_view gguf;
};

// Names outside the layers, and within a layer ("model.layers.N." and "blk.N.").
constexpr std::array kModelNames = std::to_array<NamePair>({
    {"model.embed_tokens.weight", "token_embd.weight"},
    {"model.norm.weight", "output_norm.weight"},
    {"lm_head.weight", "output.weight"},
});
constexpr std::array kLayerModules = std::to_array<NamePair>({
    {"input_layernorm", "attn_norm"},
    {"self_attn.q_proj", "attn_q"},
    {"self_attn.k_proj", "attn_k"},
    {"self_attn.v_proj", "attn_v"},
    {"self_attn.o_proj", "attn_output"},
    {"self_attn.q_norm", "attn_q_norm"},
    {"self_attn.k_norm", "attn_k_norm"},
    {"post_attention_layernorm", "ffn_norm"},
    {"mlp.gate_proj", "ffn_gate"},
    {"mlp.up_proj", "ffn_up"},
    {"mlp.down_proj", "ffn_down"},
});
// What goes before the table above in families with sandwich_norms and with fused_projections.
constexpr std::array kSandwichModules = std::to_array<NamePair>({
    {"post_attention_layernorm", "post_attention_norm"},
    {"pre_feedforward_layernorm", "ffn_norm"},
    {"post_feedforward_layernorm", "post_ffw_norm"},
});
constexpr std::array kFusedModules = std::to_array<NamePair>({
    {"self_attn.qkv_proj", "attn_qkv"},
    {"mlp.gate_up_proj", "ffn_up"},
});
constexpr std::string_view kHfLayer = "model.layers.";
constexpr std::string_view kGgufLayer = "blk.";

// Splits "<prefix><number>.<module>.<weight|bias>".
struct LayerName {
  std::string_view number;
  std::string_view module;
  std::string_view kind;
};

std::optional<LayerName> split_layer_name(std::string_view name, std::string_view prefix) {
  if (!name.starts_with(prefix)) return std::nullopt;
  name.remove_prefix(prefix.size());
  const std::size_t dot = name.find('.');
  const std::size_t last = name.rfind('.');
  if (dot == std::string_view::npos || last == dot) return std::nullopt;
  const LayerName parts{name.substr(0, dot), name.substr(dot + 1, last - dot - 1), name.substr(last + 1)};
  const bool digits =
      !parts.number.empty() && parts.number.size() < 7 &&
      std::all_of(parts.number.begin(), parts.number.end(), [](char c) { return c >= '0' && c <= '9'; });
  const bool plain = digits && (parts.number.size() == 1 || parts.number[0] != '0');
  if (!plain || (parts.kind != "weight" && parts.kind != "bias")) return std::nullopt;
  return parts;
}

std::optional<std::string> translate(std::string_view name, std::string_view NamePair::*from,
                                     std::string_view NamePair::*to, std::string_view from_layer,
                                     std::string_view to_layer, const ModelFamily* family) {
  for (const NamePair& pair : kModelNames) {
    if (pair.*from == name) return std::string(pair.*to);
  }
  const auto parts = split_layer_name(name, from_layer);
  if (!parts) return std::nullopt;
  const auto look = [&](std::span<const NamePair> table) -> std::optional<std::string> {
    for (const NamePair& pair : table) {
      if (pair.*from == parts->module)
        return concat(to_layer, parts->number, ".", pair.*to, ".", parts->kind);
    }
    return std::nullopt;
  };
  std::optional<std::string> found;
  if (family != nullptr && family->sandwich_norms) found = look(kSandwichModules);
  if (family != nullptr && family->fused_projections) found = look(kFusedModules);
  return found ? found : look(kLayerModules);
}

}  // namespace

std::optional<std::string> gguf_name(std::string_view hf_name, const ModelFamily* family) {
  return translate(hf_name, &NamePair::hf, &NamePair::gguf, kHfLayer, kGgufLayer, family);
}

std::optional<std::string> hf_name(std::string_view gguf_name, const ModelFamily* family) {
  return translate(gguf_name, &NamePair::gguf, &NamePair::hf, kGgufLayer, kHfLayer, family);
}

bool is_row_permuted(const ModelConfig& config, std::string_view hf_name) {
  if (!family_of(config).interleaved_rotary_rows) return false;
  const auto parts = split_layer_name(hf_name, kHfLayer);
  return parts && (parts->module == "self_attn.q_proj" || parts->module == "self_attn.k_proj");
}

// convert_hf_to_gguf.py: reshape(heads, 2, head_dim / 2, cols).swapaxes(1, 2)
std::int64_t gguf_row_of_hf(std::int64_t hf_row, std::int64_t head_dim) {
  const std::int64_t head = hf_row / head_dim;
  const std::int64_t in_head = hf_row % head_dim;
  return head * head_dim + 2 * (in_head % (head_dim / 2)) + in_head / (head_dim / 2);
}

std::int64_t hf_row_of_gguf(std::int64_t gguf_row, std::int64_t head_dim) {
  const std::int64_t head = gguf_row / head_dim;
  const std::int64_t in_head = gguf_row % head_dim;
  return head * head_dim + (in_head % 2) * (head_dim / 2) + in_head / 2;
}

}  // namespace lrqat::formats
