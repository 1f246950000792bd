// Named tensors to and from one safetensors file.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace lrqat::train {

using TensorList = std::vector<std::pair<std::string, at::Tensor>>;

// Written in the given order; the file appears whole or not at all.
void save_tensors(const std::filesystem::path& path, const TensorList& tensors);
// Copies on the CPU, in memory of their own.
std::map<std::string, at::Tensor> load_tensors(const std::filesystem::path& path);

}  // namespace lrqat::train
