#include "lrqat/ops/block_source.h"

#include <ATen/ATen.h>

#include "lrqat/base/error.h"

namespace lrqat::ops {
namespace {

kernels::PhiType phi_type(at::ScalarType type) {
  switch (type) {
    case at::kFloat:
      return kernels::PhiType::float32;
    case at::kBFloat16:
      return kernels::PhiType::bfloat16;
    case at::kHalf:
      return kernels::PhiType::float16;
    case at::kChar:
      return kernels::PhiType::int8;
    case at::kByte:
      return kernels::PhiType::int4;
    default:
      internal_error(__FILE__, __LINE__, "type of a stored weight", at::toString(type));
  }
}

// One step for all: of a weight that is float.
kernels::ScaleView unit_scale(std::int64_t in_features) {
  static const float one = 1.0F;
  return {&one, 0, in_features};
}

}  // namespace

kernels::LowRankTile kernel_view(const StoredWeight& weight) {
  kernels::LowRankTile view;
  view.phi = {phi_type(weight.phi_0.scalar_type()), weight.phi_0.const_data_ptr(),
              static_cast<std::int64_t>(weight.phi_0.stride(0) * weight.phi_0.element_size()), weight.unit};
  view.rows = weight.out_features();
  view.cols = weight.in_features;
  if (const LowRankTerm& term = weight.low_rank; term.lora_a.defined()) {
    LRQAT_CHECK(term.lora_a.is_contiguous() && term.lora_b.is_contiguous());
    view.rank = term.lora_a.size(1);
    view.lora_a = term.lora_a.const_data_ptr<float>();
    view.lora_b = term.lora_b.const_data_ptr<float>();
    view.lora_b_stride = weight.in_features;
    view.lora_scaling = term.lora_scaling;
    view.round_low_rank = term.round_separately;
    view.bfloat16_product = term.bfloat16_product;
  }
  view.is_float = weight.is_float;
  if (!weight.is_float) {
    view.quant_min = static_cast<float>(weight.quant_min);
    view.quant_max = static_cast<float>(weight.quant_max);
  }
  return view;
}

kernels::ScaleView scale_view(const at::Tensor& scale, const at::Tensor& zero_point,
                              std::int64_t in_features) {
  LRQAT_CHECK(scale.is_contiguous());
  kernels::ScaleView view{scale.const_data_ptr<float>(), scale.size(0) == 1 ? 0 : scale.size(1),
                          in_features / scale.size(1)};
  if (zero_point.defined()) {
    LRQAT_CHECK(zero_point.is_contiguous() && zero_point.scalar_type() == at::kChar &&
                zero_point.sizes() == scale.sizes());
    view.zero_point = zero_point.const_data_ptr<std::int8_t>();
  }
  return view;
}

void begin_at_row(std::int64_t row_begin, kernels::LowRankTile& weight, kernels::ScaleView& scale) {
  weight.phi.data = static_cast<const std::uint8_t*>(weight.phi.data) + row_begin * weight.phi.row_bytes;
  if (weight.rank > 0) weight.lora_a += row_begin * weight.rank;
  scale.data += row_begin * scale.row_stride;
  if (scale.zero_point != nullptr) scale.zero_point += row_begin * scale.row_stride;
}

std::optional<BlockSource> BlockSource::of(const StoredWeight& stored, ComputeType compute) {
  const bool odd = stored.out_features() % 2 != 0 || stored.in_features % 2 != 0;
  if (compute == ComputeType::bfloat16 && odd) return std::nullopt;
  return BlockSource(stored);
}

BlockSource::BlockSource(StoredWeight weight_as_stored) : stored(std::move(weight_as_stored)) {
  if (stored.zero_point.defined()) stored.zero_point = stored.zero_point.contiguous();
  weight = kernel_view(stored);
  scale =
      stored.is_float ? unit_scale(weight.cols) : scale_view(stored.scale, stored.zero_point, weight.cols);
  scaled_pairs = !stored.is_float && stored.scale.size(1) > 1;
  row_scale = stored.row_scale();
}

void BlockSource::make(std::int64_t row_begin, std::int64_t row_end, std::int64_t col_begin,
                       std::int64_t col_end, kernels::TileOutput output) const {
  kernels::LowRankTile tile = weight;
  kernels::ScaleView scales = scale;
  begin_at_row(row_begin, tile, scales);
  tile.rows = row_end - row_begin;
  tile.cols = col_end - col_begin;
  tile.col_begin = col_begin;
  output.scaled_pairs = scaled_pairs;
  output.first_row = static_cast<std::int32_t>(row_begin);
  output.first_col = static_cast<std::int32_t>(col_begin);
  kernels::low_rank_tile(tile, scales, output);
}

}  // namespace lrqat::ops
