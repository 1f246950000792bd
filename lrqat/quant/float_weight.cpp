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

}  // namespace lrqat::quant
