#include "lrqat/model/folder_tensors.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "lrqat/base/error.h"
#include "lrqat/base/user_text.h"
#include "lrqat/model/check_finite.h"
#include "lrqat/quant/float_weight.h"

namespace lrqat::model {
namespace {

using formats::DType;

const std::vector<DType> kFloats{DType::F32, DType::F16, DType::BF16, DType::F64};

at::ScalarType scalar_type(const formats::TensorView& view, const std::string& where) {
  switch (view.dtype) {
    case DType::F32:
      return at::kFloat;
    case DType::F16:
      return at::kHalf;
    case DType::BF16:
      return at::kBFloat16;
    case DType::F64:
      return at::kDouble;
    case DType::I8:
      return at::kChar;
    case DType::U8:
      return at::kByte;
    case DType::I32:
      return at::kInt;
    case DType::I64:
      return at::kLong;
    default:
      fail(where, ": tensor \"", view.name, "\" is of type ", formats::dtype_name(view.dtype),
           ", which a folder of integers does not hold");
  }
}

}  // namespace

FolderTensors::FolderTensors(const std::filesystem::path& folder, const formats::ModelConfig& config,
                             bool has_other_parts, at::Device device)
    : tensors_(std::make_shared<formats::CheckpointTensors>(folder, config, has_other_parts)),
      device_(device) {}

at::Tensor FolderTensors::mapped(const std::string& name, const std::vector<std::int64_t>& shape,
                                 const std::vector<DType>& allowed) const {
  const formats::TensorView& view = tensors_->at(name);
  const at::ScalarType type = scalar_type(view, where());
  if (std::count(allowed.begin(), allowed.end(), view.dtype) == 0) {
    fail(where(), ": tensor ", quote(name), " is of type ", formats::dtype_name(view.dtype), ", expected ",
         formats::dtype_name(allowed.front()));
  }
  if (view.shape != shape) {
    fail(where(), ": tensor ", quote(name), " has shape ", formats::shape_to_string(view.shape),
         ", expected ", formats::shape_to_string(shape));
  }
  auto* data = const_cast<std::byte*>(view.data.data());
  if (reinterpret_cast<std::uintptr_t>(data) % at::elementSize(type) == 0) {
    return at::from_blob(
        data, shape, [keep = tensors_](void*) {}, at::TensorOptions(type));
  }
  at::Tensor copy = at::empty(shape, type);
  std::copy(view.data.begin(), view.data.end(), static_cast<std::byte*>(copy.mutable_data_ptr()));
  return copy;
}

at::Tensor FolderTensors::finite(const std::string& name, const std::vector<std::int64_t>& shape,
                                 const std::vector<DType>& allowed) const {
  at::Tensor tensor = mapped(name, shape, allowed);
  check_finite(tensor, where(), name);
  return tensor;
}

std::shared_ptr<quant::WeightParametrization> FolderTensors::float_weight(
    const std::string& name, const std::vector<std::int64_t>& shape) const {
  at::Tensor tensor = finite(name, shape, kFloats);
  if (tensor.scalar_type() == at::kDouble) tensor = tensor.to(at::kFloat);
  return std::make_shared<quant::FloatWeight>(tensor.to(device_));
}

at::Tensor FolderTensors::vector(const std::string& name, const std::vector<std::int64_t>& shape) const {
  return finite(name, shape, kFloats).to(device_, at::kFloat, false, true);
}

}  // namespace lrqat::model
