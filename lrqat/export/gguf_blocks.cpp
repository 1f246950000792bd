#include "lrqat/export/gguf_blocks.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "lrqat/base/error.h"
#include "lrqat/base/half.h"
#include "lrqat/base/user_text.h"
#include "lrqat/export/exporter.h"
#include "lrqat/model/packed_layout.h"

namespace lrqat::exporting {
namespace {

using formats::CodeBlockType;
using quant::QuantizedWeight;

std::string upper(std::string name) {
  std::transform(name.begin(), name.end(), name.begin(), [](char letter) {
    return letter >= 'a' && letter <= 'z' ? static_cast<char>(letter - 32) : letter;
  });
  return name;
}

std::string lower(std::string_view name) {
  std::string result(name);
  std::transform(result.begin(), result.end(), result.begin(), [](char letter) {
    return letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter + 32) : letter;
  });
  return result;
}

const CodeBlockType& parse_type(const std::string& name) {
  const formats::GgmlTypeInfo* info = formats::find_ggml_type(std::string_view(upper(name)));
  const CodeBlockType* type = info == nullptr ? nullptr : formats::find_code_block_type(info->type);
  if (type == nullptr || name != lower(name)) {
    throw UsageError(
        concat("`linear-type` ", quote(name), " is not known: use auto, ", known_linear_types()));
  }
  return *type;
}

// The smallest and the largest code of each scale's grid, zero points taken off: int32 [N or 1, G] each.
std::pair<at::Tensor, at::Tensor> code_bounds(const QuantizedWeight& weight) {
  const at::Tensor zero = weight.zero_point.defined() ? weight.zero_point.cpu().to(at::kInt)
                                                      : at::zeros(weight.scale.sizes(), at::kInt);
  return {weight.grid.quant_min - zero, weight.grid.quant_max - zero};
}

// Visits (low, scale) of every scale until one is refused.
template <typename Accept>
bool all_scales(const QuantizedWeight& weight, const Accept& accept) {
  const at::Tensor low = code_bounds(weight).first.contiguous(), scale = weight.scale.cpu().contiguous();
  for (std::int64_t i = 0; i < scale.numel(); ++i) {
    if (!accept(low.const_data_ptr<std::int32_t>()[i], scale.const_data_ptr<float>()[i])) return false;
  }
  return true;
}

bool grids_fit(const QuantizedWeight& weight, const CodeBlockType& type) {
  const int width = weight.grid.quant_max - weight.grid.quant_min;
  return all_scales(weight, [&](int low, float) { return type.holds(low, low + width); });
}

bool offsets_fit(const QuantizedWeight& weight, const CodeBlockType& type) {
  return type.holds_scale == nullptr || all_scales(weight, [&](int low, float scale) {
           return type.holds_scale(float_to_float16(scale), low);
         });
}

std::string obstacle_of(const QuantizedWeight& weight, const CodeBlockType& type) {
  const auto& info = formats::ggml_type_info(type.type);
  const std::int64_t cols = weight.weight_int.size(1), group = weight.granularity.group_size;
  if (cols % info.block_elements != 0) {
    return concat("in_features ", cols, " is not a multiple of ", info.block_elements, ", the block of ",
                  info.name);
  }
  if (weight.granularity.kind == quant::Granularity::Kind::group && group % info.block_elements != 0) {
    return concat("groups of ", group, " weights are not a multiple of ", info.block_elements,
                  ", the block of ", info.name);
  }
  if (!grids_fit(weight, type)) {
    const auto [low, high] = code_bounds(weight);
    return concat(weight.grid.num_bits, "-bit codes from ", low.min().item<int>(), " to ",
                  high.max().item<int>(), " do not fit ", info.name);
  }
  if (!offsets_fit(weight, type)) {
    return concat("the product of a scale and its smallest code is not a float16 number, as ", info.name,
                  " needs");
  }
  return {};
}

const CodeBlockType* smallest_type(const QuantizedWeight& weight) {
  for (const CodeBlockType& type : formats::code_block_types()) {
    if (obstacle_of(weight, type).empty()) return &type;
  }
  return nullptr;
}

}  // namespace

std::string known_linear_types() { return formats::known_code_block_types(); }

std::string block_obstacle(const QuantizedWeight& weight, const std::string& linear_type) {
  if (weight.offset.defined()) return model::float_offset_obstacle("GGUF");
  const CodeBlockType* best = smallest_type(weight);
  if (linear_type == "auto") {
    return best == nullptr ? obstacle_of(weight, formats::code_block_types().back()) : std::string();
  }
  std::string obstacle = obstacle_of(weight, parse_type(linear_type));
  if (!obstacle.empty() && best != nullptr) {
    obstacle += concat("; `linear-type` ", lower(formats::ggml_type_name(best->type)), " holds them");
  }
  return obstacle;
}

const CodeBlockType& choose_block_type(const QuantizedWeight& weight, const std::string& linear_type) {
  if (linear_type != "auto") return parse_type(linear_type);
  const CodeBlockType* best = smallest_type(weight);
  LRQAT_CHECK(best != nullptr, "block_obstacle was not asked");
  return *best;
}

std::string smaller_types(const QuantizedWeight& weight, const CodeBlockType& chosen) {
  const bool holds_four_bits = chosen.holds(-8, 7);
  if (weight.grid.num_bits >= 4 || !holds_four_bits) return {};
  std::string text;
  for (const CodeBlockType& type : formats::code_block_types()) {
    const auto& info = formats::ggml_type_info(type.type);
    if (type.holds(-8, 7) || !grids_fit(weight, type)) continue;
    text += concat(text.empty() ? "" : ", ", info.name, " (", formats::bits_per_weight(type.type),
                   " bits a weight, where in_features is a multiple of ", info.block_elements,
                   " and a scale stands for a row or a multiple of ", info.block_elements, " weights)");
  }
  return text;
}

BlockRows::BlockRows(const QuantizedWeight& weight)
    : codes_(model::signed_codes(weight).to(at::kChar)),
      scale_(weight.scale.cpu().contiguous()),
      lows_(code_bounds(weight).first.contiguous()) {}

std::span<const int> BlockRows::lows(std::int64_t row) const {
  const std::int64_t groups = lows_.size(1);
  return {lows_.const_data_ptr<std::int32_t>() + (lows_.size(0) == 1 ? 0 : row) * groups,
          static_cast<std::size_t>(groups)};
}

std::span<const std::int8_t> BlockRows::codes(std::int64_t row) const {
  return {codes_.const_data_ptr<std::int8_t>() + row * cols(), static_cast<std::size_t>(cols())};
}

std::vector<std::uint16_t> BlockRows::scales(std::int64_t row) const {
  const std::int64_t groups = scale_.size(1);
  const float* values = scale_.const_data_ptr<float>() + (scale_.size(0) == 1 ? 0 : row) * groups;
  std::vector<std::uint16_t> words(static_cast<std::size_t>(groups));
  std::transform(values, values + groups, words.begin(), float_to_float16);
  return words;
}

void BlockRows::encode(const CodeBlockType& type, std::int64_t row, std::byte* out) const {
  formats::encode_codes(type, codes(row), scales(row), lows(row), out);
}

bool BlockRows::equals(const CodeBlockType& type, std::int64_t row, const std::byte* data) const {
  const auto blocks = static_cast<std::size_t>(cols() / formats::ggml_type_info(type.type).block_elements);
  std::vector<std::int8_t> stored(static_cast<std::size_t>(cols()));
  std::vector<std::uint16_t> words(blocks);
  if (!formats::decode_codes(type, data, lows(row), stored, words)) return false;
  const auto expected = codes(row);
  if (!std::equal(stored.begin(), stored.end(), expected.begin())) return false;
  const std::int64_t groups = scale_.size(1);
  const float* values = scale_.const_data_ptr<float>() + (scale_.size(0) == 1 ? 0 : row) * groups;
  const std::size_t per_scale = blocks / static_cast<std::size_t>(groups);
  for (std::size_t b = 0; b < blocks; ++b) {
    if (float16_to_float(words[b]) != values[b / per_scale]) return false;
  }
  return true;
}

}  // namespace lrqat::exporting
