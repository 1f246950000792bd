#include "lrqat/model/source_weight.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <optional>

#include "lrqat/base/error.h"
#include "lrqat/model/block_integers.h"
#include "lrqat/model/check_finite.h"
#include "lrqat/quant/float_weight.h"

namespace lrqat::model {
namespace {

std::optional<at::ScalarType> scalar_type(formats::GgmlType type) {
  switch (type) {
    case formats::GgmlType::F32:
      return at::kFloat;
    case formats::GgmlType::F16:
      return at::kHalf;
    case formats::GgmlType::BF16:
      return at::kBFloat16;
    default:
      return std::nullopt;
  }
}

// The stored tensor as it lies in the map, which stays alive with it; undefined where torch cannot read it
// so.
at::Tensor mapped_tensor(const SharedSource& source, const std::string& name) {
  const formats::SourceTensor raw = source->raw(name);
  const auto type = scalar_type(raw.type);
  if (!type || !raw.in_order() || !raw.is_aligned_for(at::elementSize(*type))) return {};
  // The map is private and copy-on-write, and nobody writes to a frozen weight.
  auto* data = const_cast<std::byte*>(raw.data.data());
  return at::from_blob(
      data, raw.shape, [source](void*) {}, at::TensorOptions(*type));
}

// Sources of integers in memory were checked when they were read.
void check_stored(const formats::WeightSource& source, const std::string& name) {
  if (formats::ggml_type_info(source.raw(name).type).can_dequantize) check_finite(source, name);
}

}  // namespace

SourceWeight::SourceWeight(SharedSource source, std::string name)
    : source_(std::move(source)), name_(std::move(name)), tensor_(source_->raw(name_)) {
  const auto shape = source_->shape(name_);
  LRQAT_CHECK(shape.size() == 2, name_);
  rows_ = shape[0];
  cols_ = shape[1];
}

quant::WeightTile SourceWeight::make_tile(std::int64_t row_begin, std::int64_t row_end,
                                          ops::ComputeType compute) const {
  at::Tensor values = read_rows(*source_, name_, row_begin, row_end);
  if (compute == ops::ComputeType::bfloat16) values = values.to(at::kBFloat16);
  return {values, {}};
}

std::optional<quant::QuantizedWeight> SourceWeight::stored_integers() const {
  if (!holds_integers(tensor_)) return std::nullopt;
  auto weight = integers_of(tensor_);
  source_->release(name_);
  return weight;
}

at::Tensor read_rows(const formats::WeightSource& source, const std::string& name, std::int64_t row_begin,
                     std::int64_t row_end) {
  constexpr std::int64_t kElementsPerTask = 1 << 15;
  auto shape = source.shape(name);
  LRQAT_CHECK(!shape.empty(), name);
  shape[0] = row_end - row_begin;
  at::Tensor out = at::empty(shape, at::kFloat);
  const std::int64_t row_size = shape[0] == 0 ? 1 : out.numel() / shape[0];
  const std::int64_t grain =
      std::max<std::int64_t>(1, kElementsPerTask / std::max<std::int64_t>(row_size, 1));
  float* data = out.data_ptr<float>();
  at::parallel_for(row_begin, row_end, grain, [&](std::int64_t begin, std::int64_t end) {
    source.read_rows(name, begin, end, data + (begin - row_begin) * row_size);
  });
  return out;
}

at::Tensor read_tensor(const formats::WeightSource& source, const std::string& name) {
  at::Tensor values = read_rows(source, name, 0, source.shape(name).at(0));
  check_finite(values, source.path(), name);
  return values;
}

std::shared_ptr<quant::WeightParametrization> frozen_weight(const SharedSource& source,
                                                            const std::string& name, at::Device device) {
  if (const auto* held = dynamic_cast<const IntegerTensors*>(source.get()); held && ops::on_host(device)) {
    if (auto weight = held->integers(name)) return weight;
  }
  check_stored(*source, name);
  const at::Tensor mapped = mapped_tensor(source, name);
  if (ops::on_host(device)) {
    if (!mapped.defined()) return std::make_shared<SourceWeight>(source, name);
    return std::make_shared<quant::FloatWeight>(mapped);
  }
  const at::Tensor stored = mapped.defined() ? mapped : read_tensor(*source, name);
  const auto copy = std::make_shared<quant::FloatWeight>(stored.to(device));
  source->release(name);
  return copy;
}

}  // namespace lrqat::model
