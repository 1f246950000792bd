#include "lrqat/model/tensor_file.h"

#include <ATen/ATen.h>

#include <array>
#include <cstring>

#include "lrqat/base/error.h"
#include "lrqat/base/user_text.h"
#include "lrqat/formats/safetensors.h"

namespace lrqat::model {
namespace {

struct TypeRow {
  at::ScalarType tensor;
  formats::DType file;
};
constexpr std::array<TypeRow, 5> kTypes{{{at::kFloat, formats::DType::F32},
                                         {at::kHalf, formats::DType::F16},
                                         {at::kBFloat16, formats::DType::BF16},
                                         {at::kChar, formats::DType::I8},
                                         {at::kByte, formats::DType::U8}}};

formats::DType file_type(const std::string& name, at::ScalarType type) {
  for (const TypeRow& row : kTypes) {
    if (row.tensor == type) return row.file;
  }
  internal_error(__FILE__, __LINE__, "tensor type", name);
}

at::ScalarType tensor_type(const std::filesystem::path& path, const formats::TensorView& view) {
  for (const TypeRow& row : kTypes) {
    if (row.file == view.dtype) return row.tensor;
  }
  fail(path.string(), ": tensor \"", view.name, "\" has a type that runs do not use");
}

at::Tensor copied(const formats::TensorView& view, at::ScalarType type) {
  at::Tensor tensor = at::empty(view.shape, type);
  if (!view.data.empty()) std::memcpy(tensor.mutable_data_ptr(), view.data.data(), view.data.size());
  return tensor;
}

}  // namespace

TensorBytes::TensorBytes(const at::Tensor& tensor) : plain_(tensor.detach().cpu().contiguous()) {}

TensorBytes::operator std::span<const std::byte>() const {
  return {static_cast<const std::byte*>(plain_.const_data_ptr()), plain_.nbytes()};
}

std::string first_not_finite(const TensorList& tensors) {
  const at::NoGradGuard no_grad;
  for (const auto& [name, tensor] : tensors) {
    if (!tensor.is_floating_point() || tensor.numel() == 0) continue;
    if (!at::isfinite(tensor).all().item<bool>()) return name;
  }
  return {};
}

void save_tensors(const std::filesystem::path& path, const TensorList& tensors) {
  std::vector<formats::TensorDeclaration> declarations;
  for (const auto& [name, tensor] : tensors) {
    declarations.push_back({name, file_type(name, tensor.scalar_type()), tensor.sizes().vec()});
  }
  formats::SafetensorsWriter writer(path, std::move(declarations));
  for (const auto& [name, tensor] : tensors) writer.write(name, TensorBytes(tensor));
  writer.finish();
}

std::map<std::string, at::Tensor> load_tensors(const std::filesystem::path& path) {
  const formats::SafetensorsFile file(path);
  std::map<std::string, at::Tensor> out;
  for (const formats::TensorView& view : file.tensors()) {
    out.emplace(view.name, copied(view, tensor_type(path, view)));
    file.release(view);
  }
  return out;
}

std::map<std::string, at::Tensor> load_finite(const std::filesystem::path& path) {
  std::map<std::string, at::Tensor> tensors = load_tensors(path);
  const std::string name = first_not_finite({tensors.begin(), tensors.end()});
  if (name.empty()) return tensors;
  fail(path.string(), ": tensor ", quote(name),
       " holds values that are not finite (nan or infinity): the training that wrote it had diverged. "
       "Train again "
       "with a smaller `lr` or `scale-lr`");
}

std::map<std::string, at::Tensor> map_tensors(const std::filesystem::path& path) {
  const formats::SafetensorsFile file(path);
  std::map<std::string, at::Tensor> out;
  for (const formats::TensorView& view : file.tensors()) {
    const at::ScalarType type = tensor_type(path, view);
    auto* data = const_cast<std::byte*>(view.data.data());  // the map is private and copy-on-write
    const bool aligned = reinterpret_cast<std::uintptr_t>(data) % at::elementSize(type) == 0;
    out.emplace(view.name,
                aligned && !view.data.empty()
                    ? at::from_blob(
                          data, view.shape, [keep = file.file()](void*) {}, at::TensorOptions(type))
                    : copied(view, type));
  }
  return out;
}

}  // namespace lrqat::model
