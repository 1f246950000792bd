// Where the grid starts: the scale of each tensor, row or group from its weights
// (tests/data/golden/README.md, section 3).
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <string_view>

#include "lrqat/quant/grid.h"

namespace lrqat::quant {

struct RangeEstimator {
  enum class Kind { minmax, lp };
  enum class Search { grid, golden_section };

  Kind kind = Kind::minmax;
  double percentile = 0.0;       // minmax: the range is [percentile, 100 - percentile] percent of the values
  double p = 3.5;                // lp: the scale that minimises Σ |w - ŵ|^p
  double margin = 0.0;           // lp: candidates go up to max|w| + margin
  Search search = Search::grid;  // 100 candidates, or SciPy's bounded scalar search
  float floor = 1e-8F;           // candidates are not smaller than this

  // "minmax" or "lp:P" (as lp:3.5); "mse" is lp:2. Anything else is a UsageError that shows these forms.
  static RangeEstimator parse(std::string_view text);
  std::string name() const;

  // Scales of weight [N, K] float32: float32 [1, 1], [N, 1] or [N, K / group_size], not floored, not snapped.
  // minmax: s = max(|min(w, 0)|, max(w, 1e-8)) / quant_max.
  at::Tensor estimate(const at::Tensor& weight, const Grid& grid, const Granularity& granularity) const;
};

}  // namespace lrqat::quant
