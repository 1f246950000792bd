#include "lrqat/quant/range_estimator.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <charconv>
#include <cmath>
#include <limits>
#include <tuple>
#include <utility>

#include "lrqat/base/error.h"
#include "lrqat/base/user_text.h"
#include "lrqat/ops/rounding_error.h"

namespace lrqat::quant {
namespace {

constexpr int kCandidates = 100;
constexpr float kSmallestMaximum = 1e-8F;  // max(w, this), so that a row of zeros has a scale

// Linear interpolation between order statistics, as NumPy's percentile.
float percentile_of(std::vector<float> values, double percent) {
  const double position = percent / 100.0 * static_cast<double>(values.size() - 1);
  const auto low = static_cast<std::ptrdiff_t>(position);
  std::nth_element(values.begin(), values.begin() + low, values.end());
  const float a = values[low];
  if (low + 1 >= static_cast<std::ptrdiff_t>(values.size())) return a;
  const float b = *std::min_element(values.begin() + low + 1, values.end());
  return static_cast<float>(a + (b - a) * (position - static_cast<double>(low)));
}

struct Range {
  float low = 0.0F;
  float high = 0.0F;
};

Range range_of(const float* weight, std::int64_t count, double percentile) {
  if (percentile > 0.0) {
    const std::vector<float> values(weight, weight + count);
    return {percentile_of(values, percentile), percentile_of(values, 100.0 - percentile)};
  }
  const auto [min, max] = std::minmax_element(weight, weight + count);
  return {*min, *max};
}

// The same with zero inside, so that zero is a value of every grid.
Range range_around_zero(const float* weight, std::int64_t count, double percentile) {
  const Range range = range_of(weight, count, percentile);
  return {std::min(range.low, 0.0F), std::max(range.high, kSmallestMaximum)};
}

float minmax_scale(const float* weight, std::int64_t count, float quant_max, double percentile) {
  const Range range = range_around_zero(weight, count, percentile);
  return std::max(-range.low, range.high) / quant_max;
}

// max(|min W / quant_min|, |max W / quant_max|): the extremes on the grid's ends.
float l4q_scale(const float* weight, std::int64_t count, const Grid& grid) {
  const Range range = range_of(weight, count, 0.0);
  const float scale = std::max(std::fabs(range.low / static_cast<float>(grid.quant_min)),
                               std::fabs(range.high / static_cast<float>(grid.quant_max)));
  return std::max(scale, kSmallestMaximum / static_cast<float>(grid.quant_max));
}

// max(|μ - 3σ|, |μ + 3σ|) / 2^(b-1)
float lsq_plus_scale(const float* weight, std::int64_t count, const Grid& grid) {
  double sum = 0.0, squares = 0.0;
  for (std::int64_t k = 0; k < count; ++k) sum += weight[k];
  const double mean = sum / static_cast<double>(count);
  for (std::int64_t k = 0; k < count; ++k) squares += (weight[k] - mean) * (weight[k] - mean);
  const double reach = std::fabs(mean) + 3.0 * std::sqrt(squares / static_cast<double>(count));
  return std::max(static_cast<float>(reach), kSmallestMaximum) / static_cast<float>(-grid.quant_min);
}

// Brent's bounded scalar minimisation (golden section with parabolic steps; Brent 1973 ch. 5, the algorithm
// behind SciPy's minimize_scalar(method="bounded")), absolute x tolerance 1e-5, at most 500 evaluations.
template <typename Function>
double minimize_bounded(const Function& f, double a, double b) {
  const double golden = 0.5 * (3.0 - std::sqrt(5.0));
  const double epsilon = std::sqrt(std::numeric_limits<double>::epsilon());
  double x = a + golden * (b - a), w = x, v = x;
  double fx = f(x), fw = fx, fv = fx;
  double step = 0.0, previous = 0.0;
  for (int evaluations = 1; evaluations < 500; ++evaluations) {
    const double middle = 0.5 * (a + b);
    const double tolerance = epsilon * std::fabs(x) + 1e-5 / 3.0;
    if (std::fabs(x - middle) <= 2.0 * tolerance - 0.5 * (b - a)) break;
    bool parabolic = false;
    if (std::fabs(previous) > tolerance) {
      const double r = (x - w) * (fx - fv);
      double q = (x - v) * (fx - fw);
      double p = (x - v) * q - (x - w) * r;
      q = 2.0 * (q - r);
      if (q > 0.0) p = -p;
      q = std::fabs(q);
      const double before = previous;
      previous = step;
      if (std::fabs(p) < std::fabs(0.5 * q * before) && p > q * (a - x) && p < q * (b - x)) {
        step = p / q;
        const double u = x + step;
        if (u - a < 2.0 * tolerance || b - u < 2.0 * tolerance) step = middle >= x ? tolerance : -tolerance;
        parabolic = true;
      }
    }
    if (!parabolic) {
      previous = x >= middle ? a - x : b - x;
      step = golden * previous;
    }
    const double u = x + (step >= 0.0 ? 1.0 : -1.0) * std::max(std::fabs(step), tolerance);
    const double fu = f(u);
    if (fu <= fx) {
      (u >= x ? a : b) = x;
      v = w, fv = fw, w = x, fw = fx, x = u, fx = fu;
    } else {
      (u < x ? a : b) = u;
      if (fu <= fw || w == x) {
        v = w, fv = fw, w = u, fw = fu;
      } else if (fu <= fv || v == x || v == w) {
        v = u, fv = fu;
      }
    }
  }
  return x;
}

// The scale of one row (or group, or tensor) that minimises the L_p rounding error.
float lp_scale(const float* weight, std::int64_t count, const Grid& grid, const RangeEstimator& estimator) {
  const auto quant_min = static_cast<float>(grid.quant_min);
  const auto quant_max = static_cast<float>(grid.quant_max);
  float largest = 0.0F;
  for (std::int64_t k = 0; k < count; ++k) largest = std::max(largest, std::fabs(weight[k]));
  if (largest == 0.0F) {  // every candidate is exact, so the first one wins
    return std::max(static_cast<float>(estimator.margin) / kCandidates, kSmallestMaximum) / quant_max;
  }
  // Powers of tiny errors would underflow: search on w / max|w|, which changes no candidate but by rounding.
  std::vector<float> row(weight, weight + count);
  for (float& value : row) value /= largest;
  const double bound = 1.0 + estimator.margin / largest;
  const auto loss = [&](double threshold) {
    const float scale = std::max(static_cast<float>(threshold) / quant_max, estimator.floor / largest);
    return ops::rounding_error(row, scale, quant_min, quant_max, estimator.p);
  };
  if (estimator.search == RangeEstimator::Search::golden_section) {
    // The reference's tolerance is absolute in units of the weight.
    const auto in_weight_units = [&](double threshold) { return loss(threshold / largest); };
    return static_cast<float>(minimize_bounded(in_weight_units, 0.01 * bound * largest, bound * largest)) /
           quant_max;
  }
  int best = 1;
  double smallest = std::numeric_limits<double>::infinity();
  for (int i = 1; i <= kCandidates; ++i) {
    const double error = loss(bound * i / kCandidates);
    if (error < smallest) {
      smallest = error;
      best = i;
    }
  }
  return static_cast<float>((largest + estimator.margin) * best / kCandidates) / quant_max;
}

// Scale and zero point, not rounded, of a grid that covers [low, high].
std::pair<float, float> cover(const Range& range, float steps) {
  const float scale = (range.high - range.low) / steps;
  return {scale, -range.low / scale};
}

// The L_p rounding error of grids that cover a row, each with its zero point rounded.
class CoverSearch {
 public:
  CoverSearch(const float* weight, std::int64_t count, float steps, double p)
      : row_(weight, weight + count),
        range_(range_around_zero(weight, count, 0.0)),
        largest_(std::max(-range_.low, range_.high)),
        steps_(steps),
        p_(p) {
    for (float& value : row_) value /= largest_;  // so that powers of tiny errors do not underflow
  }

  // Shares of [low, high] that are covered: both ends together first, then each end alone.
  std::pair<float, float> best() {
    for (int i = 1; i <= kCandidates; ++i) consider(i, i);
    for (int i = 2; i <= kCandidates; i += 2) consider(i, high_);
    for (int i = 2; i <= kCandidates; i += 2) consider(low_, i);
    return covered(low_, high_);
  }

 private:
  std::pair<float, float> covered(int low, int high) const {
    const auto share = [](int percent) { return static_cast<float>(percent) / kCandidates; };
    return cover({range_.low * share(low), range_.high * share(high)}, steps_);
  }

  void consider(int low, int high) {
    const auto [scale, zero] = covered(low, high);
    const float z = std::rint(zero);
    const double error = ops::rounding_error(row_, scale / largest_, -z, steps_ - z, p_);
    if (error >= smallest_) return;
    smallest_ = error;
    low_ = low;
    high_ = high;
  }

  std::vector<float> row_;
  Range range_;
  float largest_, steps_;
  double p_, smallest_ = std::numeric_limits<double>::infinity();
  int low_ = kCandidates, high_ = kCandidates;  // per cent, of the best grid
};

float scale_of(const float* weight, std::int64_t count, const Grid& grid, const RangeEstimator& estimator) {
  switch (estimator.kind) {
    case RangeEstimator::Kind::minmax:
      return minmax_scale(weight, count, static_cast<float>(grid.quant_max), estimator.percentile);
    case RangeEstimator::Kind::lp:
      return lp_scale(weight, count, grid, estimator);
    case RangeEstimator::Kind::l4q:
      return l4q_scale(weight, count, grid);
    case RangeEstimator::Kind::lsq_plus:
      return lsq_plus_scale(weight, count, grid);
  }
  internal_error(__FILE__, __LINE__, "range estimator", "");
}

}  // namespace

at::Tensor QuantRange::zero_point(const Grid& grid) const {
  if (!zero_float.defined()) return {};
  const int steps = (1 << grid.num_bits) - 1;
  return (zero_float.round().clamp_(0, steps) - (1 << (grid.num_bits - 1))).to(at::kChar);
}

QuantRange QuantRange::of(const at::Tensor& scale, const at::Tensor& zero_point, const Grid& grid) {
  if (!zero_point.defined()) return {scale};
  return {scale, zero_point.to(at::kFloat) - grid.quant_min};
}

RangeEstimator RangeEstimator::parse(std::string_view text) {
  RangeEstimator estimator;
  if (text == "minmax") return estimator;
  if (text == "l4q" || text == "lsq+") {
    estimator.kind = text == "l4q" ? Kind::l4q : Kind::lsq_plus;
    return estimator;
  }
  estimator.kind = Kind::lp;
  estimator.p = 2.0;
  if (text == "mse") return estimator;
  constexpr std::string_view kLp = "lp:";
  if (text.starts_with(kLp)) {
    const std::string_view number = text.substr(kLp.size());
    const auto [end, code] = std::from_chars(number.data(), number.data() + number.size(), estimator.p);
    if (code == std::errc{} && end == number.data() + number.size() && estimator.p > 0.0 &&
        estimator.p <= 20.0) {
      return estimator;
    }
  }
  throw UsageError(concat("`range` ", quote(text),
                          " is not known: use minmax, mse, lp:P with P in (0, 20], as lp:3.5, l4q or lsq+"));
}

std::string RangeEstimator::name() const {
  switch (kind) {
    case Kind::minmax:
      return "minmax";
    case Kind::lp:
      return concat("lp:", p);
    case Kind::l4q:
      return "l4q";
    case Kind::lsq_plus:
      return "lsq+";
  }
  internal_error(__FILE__, __LINE__, "range estimator", "");
}

QuantRange RangeEstimator::estimate(const at::Tensor& weight, const QuantSpec& spec) const {
  if (spec.symmetric) return {estimate(weight, spec.grid, spec.granularity)};
  return estimate_asymmetric(weight, spec.grid, spec.granularity);
}

at::Tensor RangeEstimator::estimate(const at::Tensor& weight, const Grid& grid,
                                    const Granularity& granularity) const {
  LRQAT_CHECK(weight.dim() == 2 && weight.scalar_type() == at::kFloat);
  const at::Tensor rows = weight.to(at::kCPU).contiguous();
  const auto shape = granularity.scale_shape(rows.size(0), rows.size(1));
  at::Tensor scale = at::empty({shape[0], shape[1]}, at::kFloat);
  const std::int64_t count = rows.numel() / scale.numel();
  const float* data = rows.const_data_ptr<float>();
  auto* out = scale.mutable_data_ptr<float>();
  at::parallel_for(0, scale.numel(), 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) out[i] = scale_of(data + i * count, count, grid, *this);
  });
  return scale.to(weight.device());
}

QuantRange RangeEstimator::estimate_asymmetric(const at::Tensor& weight, const Grid& grid,
                                               const Granularity& granularity) const {
  LRQAT_CHECK(weight.dim() == 2 && weight.scalar_type() == at::kFloat);
  if (kind != Kind::minmax && kind != Kind::lp) {
    throw UsageError(concat("`range` ", name(),
                            " is for symmetric grids: use minmax, mse or lp:P with "
                            "`symmetric` false"));
  }
  const at::Tensor rows = weight.to(at::kCPU).contiguous();
  const auto shape = granularity.scale_shape(rows.size(0), rows.size(1));
  const at::Tensor scale = at::empty({shape[0], shape[1]}, at::kFloat), zero = at::empty_like(scale);
  const std::int64_t count = rows.numel() / scale.numel();
  const auto steps = static_cast<float>((1 << grid.num_bits) - 1);
  const float* data = rows.const_data_ptr<float>();
  auto *scales = scale.mutable_data_ptr<float>(), *zeros = zero.mutable_data_ptr<float>();
  at::parallel_for(0, scale.numel(), 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const float* w = data + i * count;
      std::tie(scales[i], zeros[i]) = kind == Kind::lp
                                          ? CoverSearch(w, count, steps, p).best()
                                          : cover(range_around_zero(w, count, percentile), steps);
    }
  });
  return {scale.to(weight.device()), zero.to(weight.device())};
}

QuantRange InitialRange::of(const at::Tensor& weight, const QuantSpec& spec) const {
  if (!given_) return estimator_.estimate(weight, spec);
  LRQAT_CHECK(given_->zero_float.defined() != spec.symmetric);
  const at::Tensor& zero = given_->zero_float;
  return {given_->scale.to(weight.device()), zero.defined() ? zero.to(weight.device()) : zero};
}

}  // namespace lrqat::quant
