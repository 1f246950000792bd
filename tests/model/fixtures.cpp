#include "tests/model/fixtures.h"

#include <unistd.h>

#include <limits>

#include "lrqat/base/error.h"

namespace lrqat::model::testing {

at::Tensor load_tensor(const formats::SafetensorsFile& file, const std::string& name) {
  const formats::TensorView& view = file.at(name);
  LRQAT_CHECK(view.dtype == formats::DType::F32 || view.dtype == formats::DType::I32);
  const auto type = view.dtype == formats::DType::F32 ? at::kFloat : at::kInt;
  auto* data = const_cast<std::byte*>(view.data.data());
  const at::Tensor tensor = at::from_blob(data, view.shape, at::TensorOptions(type)).clone();
  return type == at::kInt ? tensor.to(at::kLong) : tensor;
}

double max_difference(const at::Tensor& a, const at::Tensor& b) {
  if (a.sizes() != b.sizes()) return std::numeric_limits<double>::infinity();
  const double difference = (a - b).abs().max().item<double>();
  return std::isfinite(difference) ? difference : std::numeric_limits<double>::infinity();
}

TemporaryFolder::TemporaryFolder() {
  static int counter = 0;
  path_ = std::filesystem::temp_directory_path() / concat("lrqat-test-", ::getpid(), "-", counter++);
  std::filesystem::create_directories(path_);
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace lrqat::model::testing
