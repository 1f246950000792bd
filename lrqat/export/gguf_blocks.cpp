#include "lrqat/export/gguf_blocks.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "lrqat/base/error.h"
#include "lrqat/base/half.h"

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
        concat("--linear-type \"", name, "\" is not known: use auto, ", formats::known_code_block_types()));
  }
  return *type;
}

bool offsets_fit(const QuantizedWeight& weight, const CodeBlockType& type) {
  if (type.holds_scale == nullptr) return true;
  const at::Tensor scale = weight.scale.cpu().contiguous();
  const float* values = scale.const_data_ptr<float>();
  return std::all_of(values, values + scale.numel(), [&](float value) {
    return type.holds_scale(float_to_float16(value), weight.grid.quant_min);
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
  if (!type.holds(weight.grid.quant_min, weight.grid.quant_max)) {
    return concat(weight.grid.num_bits, "-bit codes from ", weight.grid.quant_min, " to ",
                  weight.grid.quant_max, " do not fit ", info.name);
  }
  if (!offsets_fit(weight, type)) {
    return concat("the product of a scale and ", weight.grid.quant_min, " is not a float16 number, as ",
                  info.name, " needs");
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

std::string block_obstacle(const QuantizedWeight& weight, const std::string& linear_type) {
  const CodeBlockType* best = smallest_type(weight);
  if (linear_type == "auto") {
    return best == nullptr ? obstacle_of(weight, formats::code_block_types().back()) : std::string();
  }
  std::string obstacle = obstacle_of(weight, parse_type(linear_type));
  if (!obstacle.empty() && best != nullptr) {
    obstacle += concat("; --linear-type ", lower(formats::ggml_type_name(best->type)), " holds them");
  }
  return obstacle;
}

const CodeBlockType& choose_block_type(const QuantizedWeight& weight, const std::string& linear_type) {
  if (linear_type != "auto") return parse_type(linear_type);
  const CodeBlockType* best = smallest_type(weight);
  LRQAT_CHECK(best != nullptr, "block_obstacle was not asked");
  return *best;
}

BlockRows::BlockRows(const QuantizedWeight& weight)
    : codes_(weight.weight_int.cpu().contiguous()),
      scale_(weight.scale.cpu().contiguous()),
      lows_(static_cast<std::size_t>(scale_.size(1)), weight.grid.quant_min) {}

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
  formats::encode_codes(type, codes(row), scales(row), lows_, out);
}

bool BlockRows::equals(const CodeBlockType& type, std::int64_t row, const std::byte* data) const {
  const auto blocks = static_cast<std::size_t>(cols() / formats::ggml_type_info(type.type).block_elements);
  std::vector<std::int8_t> stored(static_cast<std::size_t>(cols()));
  std::vector<std::uint16_t> words(blocks);
  if (!formats::decode_codes(type, data, lows_, stored, words)) return false;
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
