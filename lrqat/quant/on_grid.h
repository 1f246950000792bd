// Integers that were made for one grid on another one: the same values, with the codes, scales and zero
// points that the other grid has for them. Where training further from a quantized model begins. N
// out_features, K in_features, G scales a row.
#pragma once

#include <optional>
#include <string>

#include "lrqat/quant/range_estimator.h"
#include "lrqat/quant/weight_parametrization.h"

namespace lrqat::quant {

// The same values, exactly, on `grid` with scales of `granularity`; nullopt where it does not have them, and
// why in `obstacle`. symmetric: without zero points; else zero_point is defined, the stored one wherever all
// weights of a scale have the same. Scales are the stored ones; one that stands for zeros alone may be any
// number above zero.
std::optional<QuantizedWeight> on_grid(const QuantizedWeight& stored, const Grid& grid,
                                       const Granularity& granularity, bool symmetric, std::string& obstacle);

}  // namespace lrqat::quant
