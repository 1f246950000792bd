#include "lrqat/methods/layer_options.h"

#include <utility>

#include "lrqat/base/error.h"

namespace lrqat::methods {

double lora_scaling(double lora_alpha, std::int64_t rank) { return lora_alpha / static_cast<double>(rank); }

void check_rank(std::int64_t rank) {
  if (rank <= 0) throw UsageError(concat("`rank` ", rank, ": adapters need a rank of at least 1"));
}

LayerOptions on_scales_of(const quant::QuantizedWeight& weight, LayerOptions options) {
  options.range = quant::QuantRange::of(weight.scale, weight.zero_point, options.spec.grid);
  return options;
}

}  // namespace lrqat::methods
