#include "lrqat/formats/fused_projections.h"

#include <array>

namespace lrqat::formats {
namespace {

struct Fused {
  std::string_view name;
  std::array<std::string_view, 3> parts;  // the last one may be empty
};

constexpr std::array kFused = std::to_array<Fused>({
    {"self_attn.qkv_proj", {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"}},
    {"mlp.gate_up_proj", {"mlp.gate_proj", "mlp.up_proj", ""}},
});

std::int64_t rows_of(const ModelConfig& config, std::string_view part) {
  if (part.empty()) return 0;
  if (part == "self_attn.q_proj") return config.num_attention_heads * config.head_dim;
  if (part.starts_with("self_attn.")) return config.num_key_value_heads * config.head_dim;
  return config.intermediate_size;
}

constexpr std::string_view kWeight = ".weight";

}  // namespace

std::optional<FusedPart> fused_part(const ModelConfig& config, std::string_view module) {
  if (!family_of(config).fused_projections) return std::nullopt;
  for (const Fused& fused : kFused) {
    std::int64_t row = 0;
    std::optional<FusedPart> found;
    for (const std::string_view part : fused.parts) {
      const std::int64_t rows = rows_of(config, part);
      if (!part.empty() && module.ends_with(part)) {
        std::string name(module.substr(0, module.size() - part.size()));
        found = FusedPart{name.append(fused.name), row, rows, 0};
      }
      row += rows;
    }
    if (!found) continue;
    found->total_rows = row;
    return found;
  }
  return std::nullopt;
}

std::vector<std::string> parts_of(const ModelConfig& config, const std::string& module) {
  if (!family_of(config).fused_projections) return {module};
  for (const Fused& fused : kFused) {
    if (!module.ends_with(fused.name)) continue;
    std::vector<std::string> parts;
    for (const std::string_view part : fused.parts) {
      if (!part.empty()) parts.push_back(module.substr(0, module.size() - fused.name.size()).append(part));
    }
    return parts;
  }
  return {module};
}

std::vector<ExpectedTensor> expected_file_tensors(const ModelConfig& config) {
  std::vector<ExpectedTensor> tensors;
  for (ExpectedTensor& tensor : expected_tensors(config)) {
    const bool is_weight = tensor.name.ends_with(kWeight);
    const auto part =
        is_weight ? fused_part(config, std::string_view(tensor.name).substr(0, tensor.name.size() - 7))
                  : std::nullopt;
    if (!part) {
      tensors.push_back(std::move(tensor));
    } else if (part->row_begin == 0) {
      tensors.push_back({part->fused + ".weight", {part->total_rows, tensor.shape[1]}});
    }
  }
  return tensors;
}

}  // namespace lrqat::formats
