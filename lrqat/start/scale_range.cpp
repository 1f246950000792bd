#include "lrqat/start/scale_range.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "lrqat/base/error.h"

namespace lrqat::start {

float smallest_scale(const quant::ScaleOptions& options) {
  return std::max(options.type == quant::ScaleType::float16 ? 0x1p-24F : 0.0F,
                  options.domain == quant::ScaleDomain::linear ? options.floor : 0.0F);
}

void check_scale_range(const quant::QuantSpec& spec, const std::string& layer, const at::Tensor& weight) {
  constexpr float kSteps = 4.0F;  // from the smallest number on, that a scale must be to be near its value
  constexpr float kSmallestRange = 1e-8F;  // of the range estimators
  const quant::ScaleOptions options = spec.scale;
  const auto codes = static_cast<float>(1 << (spec.grid.num_bits - 1));
  const float floor = smallest_scale(options);
  const auto shape = spec.granularity.scale_shape(weight.size(0), weight.size(1));
  const at::Tensor largest = weight.abs().reshape({shape[0], shape[1], -1}).amax(2);
  const at::Tensor small =
      largest.lt(std::max(kSteps * floor * codes, kSmallestRange)).logical_and(largest.gt(0));
  const auto count = small.sum().item<std::int64_t>(), all = largest.gt(0).sum().item<std::int64_t>();
  if (static_cast<double>(count) <= kMostDead * static_cast<double>(all)) return;
  const float smallest = largest.masked_select(small).min().item<float>() / codes;
  const std::string found = concat(layer, ": ", count, " of ", all, " scales would be down to ", smallest);
  const char* rescale = "multiply this layer's weights, and divide what feeds them, in the float model";
  if (smallest * codes < kSmallestRange) {
    fail(found, ", of weights below ", kSmallestRange, ", which cannot be quantized: ", rescale);
  }
  fail(found, ", but with `scale-type` ", quant::scale_type_name(options.type), " and `scale-domain` ",
       quant::scale_domain_name(options.domain), " none is below ", floor,
       ", so that this layer would become almost zero: use `scale-type` float32 `scale-domain` log, or, for "
       "GGUF, GPTQ and AWQ, which hold float16 scales alone, ",
       rescale);
}

}  // namespace lrqat::start
