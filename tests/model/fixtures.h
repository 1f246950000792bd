// Test helpers: tensors of a safetensors file, and the fixture models of tests/data/model.
#pragma once

#include <ATen/ATen.h>

#include <filesystem>
#include <string>

#include "lrqat/formats/safetensors.h"

namespace lrqat::model::testing {

inline std::filesystem::path model_data(const std::string& name) {
  return std::filesystem::path(LRQAT_TEST_DATA) / "model" / name;
}

// A copy of the tensor `name`, float32 or int64.
at::Tensor load_tensor(const formats::SafetensorsFile& file, const std::string& name);

// Largest |a - b|; infinite where a or b is not finite or the shapes differ.
double max_difference(const at::Tensor& a, const at::Tensor& b);

// A folder under the system's temporary folder, removed at the end.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace lrqat::model::testing
