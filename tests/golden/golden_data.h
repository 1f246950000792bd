// The golden vectors (tests/data/golden/README.md): a JSON list of cases and their tensors in a safetensors
// file, whole (X.safetensors) or in parts (X-00001-of-0000n.safetensors). The folder is LRQAT_GOLDEN_DIR
// where that is set.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "lrqat/base/json.h"
#include "lrqat/formats/safetensors.h"

namespace lrqat::golden {

std::filesystem::path golden_folder();

class GoldenFile {
 public:
  explicit GoldenFile(const std::string& name, bool with_tensors = true);

  const Json& cases() const { return cases_; }
  // The tensor as it is stored (any element type), a copy.
  at::Tensor tensor(const std::string& full_name) const;
  // Tensor `name` of a case.
  at::Tensor tensor(const Json& entry, const std::string& name) const;

 private:
  Json cases_;
  std::vector<std::unique_ptr<formats::SafetensorsFile>> files_;
};

bool has_tensor(const Json& entry, const std::string& name);
std::string describe(const Json& entry);  // "case 17 core fixed_point8"

}  // namespace lrqat::golden
