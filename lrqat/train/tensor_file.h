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
// Views into the mapped file, which stays open with them: pages come when they are read, processes share
// them, and the system may drop them again. What is written to such a tensor stays in this process.
std::map<std::string, at::Tensor> map_tensors(const std::filesystem::path& path);

}  // namespace lrqat::train
