#include "tests/golden/golden_data.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

namespace lrqat::golden {
namespace {

at::ScalarType scalar_type(const formats::TensorView& view) {
  switch (view.dtype) {
    case formats::DType::F64:
      return at::kDouble;
    case formats::DType::F32:
      return at::kFloat;
    case formats::DType::F16:
      return at::kHalf;
    case formats::DType::BF16:
      return at::kBFloat16;
    case formats::DType::I32:
      return at::kInt;
    case formats::DType::I16:
      return at::kShort;
    case formats::DType::I8:
      return at::kChar;
    default:
      fail(view.name, " has dtype ", formats::dtype_name(view.dtype), ", which golden files do not use");
  }
}

// The cases are so small that threads would do nothing but wait for each other.
class OneThread : public ::testing::Environment {
 public:
  void SetUp() override { at::set_num_threads(1); }
};

[[maybe_unused]] const auto* const one_thread = ::testing::AddGlobalTestEnvironment(new OneThread);

std::vector<std::filesystem::path> tensor_files(const std::string& name) {
  const auto whole = golden_folder() / (name + ".safetensors");
  if (std::filesystem::exists(whole)) return {whole};
  std::vector<std::filesystem::path> parts;
  for (const auto& entry : std::filesystem::directory_iterator(golden_folder())) {
    const std::string file = entry.path().filename().string();
    if (file.starts_with(name + "-0") && file.ends_with(".safetensors")) parts.push_back(entry.path());
  }
  if (parts.empty()) fail(golden_folder(), " has neither ", name, ".safetensors nor its parts");
  std::sort(parts.begin(), parts.end());
  return parts;
}

}  // namespace

std::filesystem::path golden_folder() {
  const char* folder = std::getenv("LRQAT_GOLDEN_DIR");
  return folder != nullptr && *folder != '\0' ? std::filesystem::path(folder)
                                              : std::filesystem::path(LRQAT_TEST_DATA) / "golden";
}

GoldenFile::GoldenFile(const std::string& name, bool with_tensors)
    : cases_(read_json_file(golden_folder() / (name + ".json"))) {
  if (cases_.empty()) fail(name, ".json holds no cases");
  if (!with_tensors) return;
  for (const auto& path : tensor_files(name)) {
    files_.push_back(std::make_unique<formats::SafetensorsFile>(path));
  }
}

at::Tensor GoldenFile::tensor(const std::string& full_name) const {
  for (const auto& file : files_) {
    const formats::TensorView* view = file->find(full_name);
    if (view == nullptr) continue;
    at::Tensor tensor = at::empty(view->shape, scalar_type(*view));
    LRQAT_CHECK(tensor.nbytes() == view->data.size());
    std::copy(view->data.begin(), view->data.end(), static_cast<std::byte*>(tensor.mutable_data_ptr()));
    return tensor;
  }
  fail("no golden file holds ", full_name);
}

at::Tensor GoldenFile::tensor(const Json& entry, const std::string& name) const {
  return tensor(entry.at("prefix").get<std::string>() + name);
}

bool has_tensor(const Json& entry, const std::string& name) {
  const Json& tensors = entry.at("tensors");
  return std::find(tensors.begin(), tensors.end(), name) != tensors.end();
}

std::string describe(const Json& entry) {
  const auto text = [&](const char* key) { return entry.value(key, std::string()); };
  return concat("case ", entry.at("id"), " ", text("name"), " ", text("phi"), text("data"), " ",
                text("granularity"), " ", entry.value("num_bits", 0), " bits");
}

}  // namespace lrqat::golden
