// The tensors of a folder of safetensors as torch sees them: on the map where they can be, checked for shape
// and type. What readers of folders with integers share.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "lrqat/formats/checkpoint.h"
#include "lrqat/quant/weight_parametrization.h"

namespace lrqat::model {

class FolderTensors {
 public:
  FolderTensors(const std::filesystem::path& folder, const formats::ModelConfig& config, bool has_other_parts,
                at::Device device);

  bool has(const std::string& name) const { return tensors_->find(name) != nullptr; }
  const std::vector<std::string>& names() const { return tensors_->names(); }
  std::string where() const { return tensors_->path().string(); }
  void release(const std::string& name) const { tensors_->release(name); }

  // The tensor on the map, or a copy of it where it is not aligned for its type.
  at::Tensor mapped(const std::string& name, const std::vector<std::int64_t>& shape,
                    const std::vector<formats::DType>& allowed) const;
  // The same of floats, which must be finite.
  at::Tensor finite(const std::string& name, const std::vector<std::int64_t>& shape,
                    const std::vector<formats::DType>& allowed) const;
  // Floats of any kind: a frozen weight on the device, and a float32 tensor on it.
  std::shared_ptr<quant::WeightParametrization> float_weight(const std::string& name,
                                                             const std::vector<std::int64_t>& shape) const;
  at::Tensor vector(const std::string& name, const std::vector<std::int64_t>& shape) const;

 private:
  std::shared_ptr<formats::CheckpointTensors> tensors_;
  at::Device device_;
};

}  // namespace lrqat::model
