// A model folder as its savers leave it: what config.json says, of a multimodal model its text part, and the
// tensors under the names of a text model (model.layers.0.…), whatever stands before them in the files.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "lrqat/base/json.h"
#include "lrqat/formats/model_config.h"
#include "lrqat/formats/safetensors.h"

namespace lrqat::formats {

struct FolderConfig {
  // config.json of a text model: a multimodal model's text_config with the defaults that its writer left out.
  // "quantization_config" also where AutoGPTQ, AutoAWQ or AutoRound keep it in a file of its own.
  Json json;
  bool has_other_parts = false;  // for images or sound: their tensors are passed over
};
FolderConfig read_folder_config(const std::filesystem::path& folder);

// The tensors of a folder. Prefixes of wrappers (torch.compile, DDP, FSDP, PEFT) and of multimodal models are
// taken off, a missing "model." is put there, and a tied model's only matrix is its embedding under either
// name. Error where adapters are left that were not merged.
class CheckpointTensors {
 public:
  CheckpointTensors(const std::filesystem::path& folder, const ModelConfig& config, bool has_other_parts);

  const std::vector<std::string>& names() const { return names_; }  // in file order
  const TensorView* find(std::string_view name) const;
  const TensorView& at(std::string_view name) const;  // Error that lists near names
  void release(std::string_view name) const;
  const std::filesystem::path& path() const { return files_.path(); }

 private:
  ShardedSafetensors files_;
  std::vector<std::string> names_;
  std::unordered_map<std::string, std::string> stored_;  // by the name of a text model
};

// Error where the name belongs to weights that were quantized, of a folder whose config does not say so.
void refuse_quantized_leftover(std::string_view name, const std::string& where);

// Error where a file or folder holds weights that are not read here (pickles, adapters alone, other
// frameworks), saying what they are and what to do.
void refuse_other_checkpoints(const std::filesystem::path& path);

}  // namespace lrqat::formats
