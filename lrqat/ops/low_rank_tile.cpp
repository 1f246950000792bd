#include "lrqat/ops/low_rank_tile.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "lrqat/base/error.h"
#include "lrqat/kernels/low_rank_sum.h"
#include "lrqat/ops/block_source.h"
#include "lrqat/ops/cpu_backend.h"

namespace lrqat::ops {
namespace {

// Rows a thread takes at least; a multiple of the kernel's row block.
constexpr std::int64_t kGrainRows = 16;

TileTensors allocate(const TileOutputs& wanted, std::int64_t rows, std::int64_t cols) {
  TileTensors tile;
  if (wanted.codes) tile.codes = at::empty({rows, cols}, at::kChar);
  if (wanted.mask) tile.mask = at::empty({rows, cols}, at::kByte);
  if (wanted.values) tile.values = at::empty({rows, cols}, at::kFloat);
  if (wanted.bfloat16_codes) tile.bfloat16_codes = at::empty({rows, cols}, at::kBFloat16);
  if (wanted.clipped) tile.clipped = at::empty({rows}, at::kInt);
  return tile;
}

template <typename T>
T* rows_from(const at::Tensor& tensor, std::int64_t row) {
  if (!tensor.defined()) return nullptr;
  return static_cast<T*>(tensor.mutable_data_ptr()) + row * tensor.stride(0);
}

kernels::TileOutput output_from(const TileTensors& tile, std::int64_t row) {
  kernels::TileOutput output;
  output.codes = rows_from<std::int8_t>(tile.codes, row);
  output.mask = rows_from<std::uint8_t>(tile.mask, row);
  output.clipped = rows_from<std::int32_t>(tile.clipped, row);
  output.values = rows_from<float>(tile.values, row);
  output.values_stride = tile.values.defined() ? tile.values.stride(0) : 0;
  output.bfloat16_codes = rows_from<std::uint16_t>(tile.bfloat16_codes, row);
  return output;
}

}  // namespace

TileTensors low_rank_tile(const StoredWeight& weight, const TileOutputs& wanted) {
  return backend_of(weight.phi_0).low_rank_tile(weight, wanted);
}

TileTensors CpuBackend::low_rank_tile(const StoredWeight& weight, const TileOutputs& wanted) const {
  const TileTensors tile = allocate(wanted, weight.out_features(), weight.in_features);
  const kernels::LowRankTile view = kernel_view(weight);
  const kernels::ScaleView scale = scale_view(weight.scale, {}, weight.in_features);
  at::parallel_for(0, view.rows, kGrainRows, [&](std::int64_t begin, std::int64_t end) {
    kernels::LowRankTile rows = view;
    kernels::ScaleView scales = scale;
    begin_at_row(begin, rows, scales);
    rows.rows = end - begin;
    kernels::low_rank_tile(rows, scales, output_from(tile, begin));
  });
  return tile;
}

WeightTile quantized_tile(const StoredWeight& weight, ComputeType compute) {
  const at::Tensor& scale = weight.scale;
  if (compute == ComputeType::float32 || scale.size(1) > 1) {
    const at::Tensor values = low_rank_tile(weight, {.values = true}).values;
    return {compute == ComputeType::float32 ? values : values.to(at::kBFloat16), {}};
  }
  return {low_rank_tile(weight, {.bfloat16_codes = true}).bfloat16_codes,
          scale.size(0) == 1 ? scale.view({1}).expand({weight.out_features()}) : scale.squeeze(1)};
}

at::Tensor low_rank_tile_gradient(const TileTensors& tile, const at::Tensor& scale,
                                  const at::Tensor& grad_weight) {
  return backend_of(grad_weight).low_rank_tile_gradient(tile, scale, grad_weight);
}

at::Tensor CpuBackend::low_rank_tile_gradient(const TileTensors& tile, const at::Tensor& scale,
                                              const at::Tensor& grad_weight) const {
  LRQAT_CHECK(grad_weight.is_contiguous() && grad_weight.scalar_type() == at::kFloat);
  const std::int64_t rows = grad_weight.size(0), cols = grad_weight.size(1);
  at::Tensor grad_scale = at::empty({rows, scale.size(1)}, at::kFloat);
  at::parallel_for(0, rows, kGrainRows, [&](std::int64_t begin, std::int64_t end) {
    kernels::low_rank_tile_gradient(end - begin, cols,
                                    tile.codes.const_data_ptr<std::int8_t>() + begin * cols,
                                    tile.mask.const_data_ptr<std::uint8_t>() + begin * cols,
                                    scale_view(scale_rows(scale, begin, end), {}, cols),
                                    grad_weight.mutable_data_ptr<float>() + begin * cols,
                                    grad_scale.mutable_data_ptr<float>() + begin * scale.size(1));
  });
  return grad_scale;
}

void add_low_rank_rows(const at::Tensor& values, const at::Tensor& lora_a, const at::Tensor& lora_b,
                       double lora_scaling, std::int64_t row_begin) {
  const at::Tensor a = lora_a.detach().slice(0, row_begin, row_begin + values.size(0));
  backend_of(values).add_low_rank_rows(values, a, lora_b.detach(), lora_scaling);
}

void CpuBackend::add_low_rank_rows(const at::Tensor& values, const at::Tensor& a, const at::Tensor& lora_b,
                                   double lora_scaling) const {
  LRQAT_CHECK(values.is_contiguous() && a.is_contiguous() && lora_b.is_contiguous());
  at::parallel_for(0, values.size(0), kGrainRows, [&](std::int64_t begin, std::int64_t end) {
    kernels::LowRankSum sum;
    sum.rows = end - begin;
    sum.cols = values.size(1);
    sum.rank = a.size(1);
    sum.lora_a = a.const_data_ptr<float>() + begin * sum.rank;
    sum.lora_b = lora_b.const_data_ptr<float>();
    sum.lora_scaling = static_cast<float>(lora_scaling);
    kernels::low_rank_sum(sum, values.mutable_data_ptr<float>() + begin * sum.cols);
  });
}

}  // namespace lrqat::ops
