// "quantization_config" of folders that other programs read: which layout the integers have, and the bits and
// groups of each linear.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "lrqat/base/json.h"
#include "lrqat/model/packed_layout.h"

namespace lrqat::model {

// A scheme and the linears that it is for; no targets: all of them.
struct PackedGroup {
  PackedScheme scheme;
  std::vector<std::string> targets;  // class names ("Linear"), module names, or "re:" and a pattern
};

struct PackedConfig {
  std::string layout;  // a name of packed_layouts()
  std::vector<PackedGroup> groups;

  // Error (naming `where`) where no group is for this linear.
  const PackedScheme& scheme_of(const std::string& module, const std::string& where) const;
};

// nullopt where config.json's quantization_config is none of ours to read; Error where it is one of a kind
// that is not supported (activations, act-order, other widths).
std::optional<PackedConfig> packed_config_from_json(const Json& config, const std::string& where);

// A folder of this kind, judged by its quantization_config alone, or what stands for one
// (formats::read_folder_config).
bool is_packed_folder(const std::filesystem::path& path);

// What the exporters write. `skipped`: linears that are not quantized.
Json packed_config_to_json(const PackedConfig& config, const std::vector<std::string>& skipped);

}  // namespace lrqat::model
