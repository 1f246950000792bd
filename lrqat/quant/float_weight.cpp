#include "lrqat/quant/float_weight.h"

#include <ATen/ATen.h>

#include "lrqat/base/error.h"

namespace lrqat::quant {

FloatWeight::FloatWeight(at::Tensor weight) : weight_(std::move(weight)) {
  LRQAT_CHECK(weight_.dim() == 2 && weight_.is_contiguous() && weight_.is_floating_point());
}

WeightTile FloatWeight::make_tile(std::int64_t row_begin, std::int64_t row_end,
                                  ops::ComputeType compute) const {
  const auto type = compute == ops::ComputeType::bfloat16 ? at::kBFloat16 : at::kFloat;
  return {weight_.slice(0, row_begin, row_end).to(type), {}};
}

std::optional<ops::OperandSource> FloatWeight::operand_source(ops::ComputeType compute) const {
  static const float one = 1.0F;
  const std::int64_t n = out_features(), k = in_features();
  if (!weight_.is_cpu() || (compute == ops::ComputeType::bfloat16 && (n % 2 != 0 || k % 2 != 0)))
    return std::nullopt;
  ops::OperandSource source;
  source.weight.phi.type = weight_.scalar_type() == at::kFloat      ? kernels::PhiType::float32
                           : weight_.scalar_type() == at::kBFloat16 ? kernels::PhiType::bfloat16
                                                                    : kernels::PhiType::float16;
  source.weight.phi.data = weight_.const_data_ptr();
  source.weight.phi.row_bytes = k * static_cast<std::int64_t>(weight_.element_size());
  source.weight.rows = n;
  source.weight.cols = k;
  source.weight.is_float = true;
  source.scale = {&one, 0, k};
  source.storage = {weight_};
  return source;
}

}  // namespace lrqat::quant
