// Test helpers: tensors of a safetensors file, the fixture models of tests/data/model, temporary folders.
// Header-only, because several test executables use them.
#pragma once

#include <ATen/ATen.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <limits>
#include <string>

#include "lrqat/base/error.h"
#include "lrqat/formats/safetensors.h"

namespace lrqat::model::testing {

inline std::filesystem::path model_data(const std::string& name) {
  return std::filesystem::path(LRQAT_TEST_DATA) / "model" / name;
}

// A copy of the tensor `name`, float32 or int64.
inline at::Tensor load_tensor(const formats::SafetensorsFile& file, const std::string& name) {
  const formats::TensorView& view = file.at(name);
  LRQAT_CHECK(view.dtype == formats::DType::F32 || view.dtype == formats::DType::I32);
  const auto type = view.dtype == formats::DType::F32 ? at::kFloat : at::kInt;
  auto* data = const_cast<std::byte*>(view.data.data());
  const at::Tensor tensor = at::from_blob(data, view.shape, at::TensorOptions(type)).clone();
  return type == at::kInt ? tensor.to(at::kLong) : tensor;
}

// Largest |a - b|; infinite where it is not finite or the shapes differ.
inline double max_difference(const at::Tensor& a, const at::Tensor& b) {
  if (a.sizes() != b.sizes()) return std::numeric_limits<double>::infinity();
  const double difference = (a - b).abs().max().item<double>();
  return std::isfinite(difference) ? difference : std::numeric_limits<double>::infinity();
}

// A folder under the system's temporary folder, removed at the end.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    static int counter = 0;
    path_ = std::filesystem::temp_directory_path() / concat("lrqat-test-", ::getpid(), "-", counter++);
    std::filesystem::create_directories(path_);
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace lrqat::model::testing
