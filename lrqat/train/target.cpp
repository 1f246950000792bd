#include "lrqat/train/target.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "lrqat/base/error.h"
#include "lrqat/base/user_text.h"
#include "lrqat/formats/ggml_codes.h"
#include "lrqat/model/packed_layout.h"

namespace lrqat::train {
namespace {

using quant::Granularity;

Granularity groups_of(std::int64_t size) { return {Granularity::Kind::group, size}; }

// --- gguf: the type of a linear's blocks follows from its codes and groups

std::int64_t block_size(const formats::CodeBlockType& type) {
  return formats::ggml_type_info(type.type).block_elements;
}

// Whether blocks of the type have room for all codes of the grid, wherever its zero points lie.
bool holds_codes(const formats::CodeBlockType& type, const LinearGrid& linear) {
  if (type.holds_scale != nullptr) return false;  // only known with the scales
  const int width = linear.grid.quant_max - linear.grid.quant_min;
  if (linear.symmetric) return type.holds(linear.grid.quant_min, linear.grid.quant_max);
  for (int low = -width; low <= 0; ++low) {
    if (!type.holds(low, low + width)) return false;
  }
  return true;
}

// A block has one scale, so its size is the finest group: those of the smallest blocks first.
std::vector<Granularity> gguf_granularities(const LinearGrid& linear) {
  std::vector<Granularity> found;
  for (const formats::CodeBlockType& type : formats::code_block_types()) {
    if (holds_codes(type, linear)) found.push_back(groups_of(block_size(type)));
  }
  return found;
}

// The smallest type that holds the linear, whatever its scales; null: none does.
const formats::CodeBlockType* smallest_type(const LinearGrid& linear, const Granularity& granularity) {
  const bool grouped = granularity.kind == Granularity::Kind::group;
  for (const formats::CodeBlockType& type : formats::code_block_types()) {
    if (holds_codes(type, linear) && linear.in_features % block_size(type) == 0 &&
        (!grouped || granularity.group_size % block_size(type) == 0)) {
      return &type;
    }
  }
  return nullptr;
}

std::int64_t gguf_stored_bits(const LinearGrid& linear, const Granularity& granularity) {
  const formats::CodeBlockType* type = smallest_type(linear, granularity);
  LRQAT_CHECK(type != nullptr);
  return 8 * linear.out_features *
         static_cast<std::int64_t>(formats::ggml_row_bytes(type->type, linear.in_features));
}

std::string gguf_obstacle(const LinearGrid& linear, const Granularity& granularity) {
  if (smallest_type(linear, granularity) != nullptr) return {};
  const auto types = formats::code_block_types();
  const bool any_type =
      std::any_of(types.begin(), types.end(), [&](const auto& type) { return holds_codes(type, linear); });
  const std::string codes =
      concat(linear.grid.num_bits, "-bit codes", linear.symmetric ? "" : " with zero points");
  if (!any_type) return concat("no block of GGUF holds ", codes);
  constexpr std::int64_t kSmallest = 32;
  if (linear.in_features % kSmallest != 0) {
    return concat("in_features ", linear.in_features, " is not a multiple of ", kSmallest,
                  ", GGUF's smallest block");
  }
  return concat("no block of GGUF holds ", codes, " with one scale for ", granularity.name());
}

// --- folders

// What the programs have fast kernels for (docs/formats.md).
std::vector<Granularity> packed_granularities(const LinearGrid&) {
  return {groups_of(128), groups_of(64), groups_of(32)};
}

// Rows of codes in whole words of 32 bits, a scale for each row at least, a zero point beside each scale.
std::int64_t packed_stored_bits(const LinearGrid& linear, const Granularity& granularity,
                                bool has_zero_points) {
  constexpr std::int64_t kWord = 32;
  const std::int64_t words = (linear.in_features * linear.grid.num_bits + kWord - 1) / kWord;
  const std::int64_t groups =
      granularity.kind == Granularity::Kind::group ? linear.in_features / granularity.group_size : 1;
  const std::int64_t scale = linear.scale_bits + (has_zero_points ? linear.grid.num_bits : 0);
  return linear.out_features * (words * kWord + groups * scale);
}

// The layout's own answer, asked with numbers that every format holds.
Target packed_target(const model::PackedLayout& layout) {
  const bool one_grid = layout.name != "compressed-tensors";
  return {layout.name,
          one_grid,
          /*fuses=*/true,
          packed_granularities,
          [&layout](const LinearGrid& linear, const Granularity& granularity) {
            const auto shape = granularity.scale_shape(linear.out_features, linear.in_features);
            return layout.obstacle(
                {linear.grid, granularity,
                 at::zeros({1, 1}, at::kChar).expand({linear.out_features, linear.in_features}),
                 at::ones({1, 1}).expand({shape[0], shape[1]})});
          },
          [one_grid](const LinearGrid& linear, const Granularity& granularity) {
            return packed_stored_bits(linear, granularity, one_grid || !linear.symmetric);
          }};
}

// Floats hold every grid, and their size does not depend on it.
Target float_target(const std::string& name) {
  constexpr std::int64_t kFloatBits = 16;
  return {name,
          false,
          false,
          [](const LinearGrid&) {
            return std::vector{groups_of(32), groups_of(16), groups_of(8)};
          },
          [](const LinearGrid&, const Granularity&) { return std::string(); },
          [](const LinearGrid& linear, const Granularity&) {
            return kFloatBits * linear.out_features * linear.in_features;
          }};
}

const std::vector<Target>& targets() {
  static const std::vector<Target> table = [] {
    std::vector<Target> rows{{"gguf", false, false, gguf_granularities, gguf_obstacle, gguf_stored_bits}};
    for (const model::PackedLayout& layout : model::packed_layouts()) rows.push_back(packed_target(layout));
    rows.push_back(float_target("hf"));
    rows.push_back(float_target("peft"));
    return rows;
  }();
  return table;
}

}  // namespace

std::string known_targets() {
  std::string names;
  for (const Target& target : targets()) names += (names.empty() ? "" : ", ") + target.name;
  return names;
}

const Target& find_target(const std::string& name) {
  for (const Target& target : targets()) {
    if (target.name == name) return target;
  }
  throw UsageError(concat("`for` ", quote(name), " is not known: use one of ", known_targets()));
}

std::string parse_target(const std::string& name) { return find_target(name).name; }

}  // namespace lrqat::train
