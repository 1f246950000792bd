// The first scales and zero points of a weight: of each tensor, row or group from its values
// (tests/data/golden/README.md, section 3), or found by something else.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string>
#include <string_view>

#include "lrqat/quant/grid.h"
#include "lrqat/quant/scale_parameter.h"

namespace lrqat::quant {

// What a weight is rounded to.
struct QuantSpec {
  Grid grid;  // signed
  Granularity granularity;
  ScaleOptions scale;
  bool symmetric = true;  // false: with zero points
};

// The scales of a grid s·q, or the scales and zero points of an asymmetric one s·(k - z), k in [0, 2^b - 1],
// before rounding: float32, shaped [1, 1], [N, 1] or [N, K / group_size].
struct QuantRange {
  at::Tensor scale;
  at::Tensor zero_float{};  // undefined: the grid is symmetric
  // round(zero_float), within the grid, relative to its middle: int8, for codes of the signed grid; undefined
  // where the grid is symmetric.
  at::Tensor zero_point(const Grid& grid) const;
  // The range whose zero_point() is this one, shaped like the scale; undefined: symmetric.
  static QuantRange of(const at::Tensor& scale, const at::Tensor& zero_point, const Grid& grid);
};

struct RangeEstimator {
  // l4q and lsq_plus are the first scales of L4Q: max(|min W / quant_min|, |max W / quant_max|) and
  // max(|μ - 3σ|, |μ + 3σ|) / 2^(b-1).
  enum class Kind { minmax, lp, l4q, lsq_plus };
  enum class Search { grid, golden_section };

  Kind kind = Kind::minmax;
  double percentile = 0.0;       // minmax: the range is [percentile, 100 - percentile] percent of the values
  double p = 3.5;                // lp: the scale that minimises Σ |w - ŵ|^p
  double margin = 0.0;           // lp: candidates go up to max|w| + margin
  Search search = Search::grid;  // 100 candidates, or SciPy's bounded scalar search
  float floor = 1e-8F;           // candidates are not smaller than this

  // "minmax", "lp:P" (as lp:3.5; "mse" is lp:2), "l4q" or "lsq+". Anything else is a UsageError that shows
  // these forms.
  static RangeEstimator parse(std::string_view text);
  std::string name() const;

  // The range of weight [N, K] float32 as the spec asks for it: one of the next two.
  QuantRange estimate(const at::Tensor& weight, const QuantSpec& spec) const;

  // Scales of weight [N, K] float32: float32 [1, 1], [N, 1] or [N, K / group_size], not floored, not snapped.
  // minmax: s = max(|min(w, 0)|, max(w, 1e-8)) / quant_max.
  at::Tensor estimate(const at::Tensor& weight, const Grid& grid, const Granularity& granularity) const;

  // The same for an asymmetric grid of grid.num_bits. minmax: s = (hi - lo) / (2^b - 1), zero_float = -lo / s
  // with lo = min(w, 0), hi = max(w, 1e-8); lp: [lo, hi] shrunk to the percentage that minimises the error.
  // UsageError for the other kinds.
  QuantRange estimate_asymmetric(const at::Tensor& weight, const Grid& grid,
                                 const Granularity& granularity) const;
};

// Where a weight's scales and zero points start: what an estimator finds in the weight, or a range that is
// given (stored ones, those that a post-training method rounded on).
class InitialRange {
 public:
  InitialRange() = default;                                          // min-max
  InitialRange(RangeEstimator estimator) : estimator_(estimator) {}  // NOLINT(google-explicit-constructor)
  InitialRange(QuantRange given) : given_(std::move(given)) {}       // NOLINT(google-explicit-constructor)

  // On the weight's device.
  QuantRange of(const at::Tensor& weight, const QuantSpec& spec) const;

 private:
  RangeEstimator estimator_;
  std::optional<QuantRange> given_;
};

}  // namespace lrqat::quant
