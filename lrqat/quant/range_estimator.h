// Where the grid starts: the scale of each tensor, row or group from its weights
// (tests/data/golden/README.md, section 3).
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <string_view>

#include "lrqat/quant/grid.h"

namespace lrqat::quant {

// An asymmetric grid s·(k - z), k in [0, 2^b - 1]: its scales and zero points before rounding.
struct AsymmetricRange {
  at::Tensor scale;
  at::Tensor zero_float;
  // round(zero_float), within the grid, relative to its middle: int8, for codes of the signed grid.
  at::Tensor zero_point(const Grid& grid) const;
};

struct RangeEstimator {
  // l4q and lsq_plus are the first scales of L4Q: max(|min W / quant_min|, |max W / quant_max|) and
  // max(|μ - 3σ|, |μ + 3σ|) / 2^(b-1).
  // stored: scales and zero points that somebody has found already.
  enum class Kind { minmax, lp, l4q, lsq_plus, stored };
  enum class Search { grid, golden_section };

  Kind kind = Kind::minmax;
  double percentile = 0.0;       // minmax: the range is [percentile, 100 - percentile] percent of the values
  double p = 3.5;                // lp: the scale that minimises Σ |w - ŵ|^p
  double margin = 0.0;           // lp: candidates go up to max|w| + margin
  Search search = Search::grid;  // 100 candidates, or SciPy's bounded scalar search
  float floor = 1e-8F;           // candidates are not smaller than this

  at::Tensor stored_scale;       // stored: shaped as estimate() gives them
  at::Tensor stored_zero_point;  // relative to the middle of the grid; undefined: none

  // "minmax", "lp:P" (as lp:3.5; "mse" is lp:2), "l4q" or "lsq+". Anything else is a UsageError that shows
  // these forms.
  static RangeEstimator parse(std::string_view text);
  static RangeEstimator of_stored(at::Tensor scale, at::Tensor zero_point);
  std::string name() const;

  // Scales of weight [N, K] float32: float32 [1, 1], [N, 1] or [N, K / group_size], not floored, not snapped.
  // minmax: s = max(|min(w, 0)|, max(w, 1e-8)) / quant_max.
  at::Tensor estimate(const at::Tensor& weight, const Grid& grid, const Granularity& granularity) const;

  // The same for an asymmetric grid of grid.num_bits. minmax: s = (hi - lo) / (2^b - 1), zero_float = -lo / s
  // with lo = min(w, 0), hi = max(w, 1e-8); lp: [lo, hi] shrunk to the percentage that minimises the error.
  // UsageError for the other kinds.
  AsymmetricRange estimate_asymmetric(const at::Tensor& weight, const Grid& grid,
                                      const Granularity& granularity) const;
};

}  // namespace lrqat::quant
