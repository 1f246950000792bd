// Tensors to and from files: the bytes of one, and named ones in a safetensors file.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace lrqat::model {

// A tensor's values as files hold them: on the host, one after the other. Copied only where it is neither.
class TensorBytes {
 public:
  explicit TensorBytes(const at::Tensor& tensor);
  operator std::span<const std::byte>() const;  // as long as this object lives

 private:
  at::Tensor plain_;
};

using TensorList = std::vector<std::pair<std::string, at::Tensor>>;

// The name of the first tensor of floats that holds a value that is not finite; empty: all are finite.
std::string first_not_finite(const TensorList& tensors);

// Written in the given order; the file appears whole or not at all.
void save_tensors(const std::filesystem::path& path, const TensorList& tensors);
// Copies on the CPU, in memory of their own.
std::map<std::string, at::Tensor> load_tensors(const std::filesystem::path& path);
// The same, and an Error that names the tensor where a float in it is not finite.
std::map<std::string, at::Tensor> load_finite(const std::filesystem::path& path);
// Views into the mapped file, which stays open with them: pages come when they are read, processes share
// them, and the system may drop them again. What is written to such a tensor stays in this process.
std::map<std::string, at::Tensor> map_tensors(const std::filesystem::path& path);

}  // namespace lrqat::model
