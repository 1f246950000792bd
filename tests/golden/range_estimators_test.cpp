// The scale (and zero point) that each range estimator starts from. Of the asymmetric grids, min-max is held
// to the reference; its search is two-dimensional, per tensor, with candidates that float32 rounding decides
// (README section 4, item 11), where ours shrinks both ends together: there the losses are compared.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "lrqat/quant/range_estimator.h"
#include "tests/golden/comparer.h"
#include "tests/golden/golden_data.h"

namespace lrqat::golden {
namespace {

using quant::Granularity;
using quant::Grid;
using quant::RangeEstimator;

constexpr double kMinMax = 2e-6;
constexpr double kGridScale = 5e-6;  // where the best candidate leads by more than the loss's tolerance
constexpr double kGridLoss = 1e-4;   // elsewhere two candidates are equally good: the loss is compared
constexpr double kGoldenLoss = 0.5;  // a bumpy objective: README section 4, item 10

struct RangeCase {
  RangeCase(const GoldenFile& golden, const Json& json)
      : file(&golden), entry(json), name(describe(json) + " " + json.at("name").get<std::string>()) {
    grid = {entry.at("num_bits"), entry.at("quant_min"), entry.at("quant_max")};
    const std::string kind = entry.at("granularity");
    granularity = Granularity::parse(kind == "group" ? concat("group:", entry.at("group_size")) : kind);
    estimator.kind =
        entry.at("estimator") == "minmax" ? RangeEstimator::Kind::minmax : RangeEstimator::Kind::lp;
    estimator.percentile = entry.at("percentile");
    estimator.p = entry.at("p");
    estimator.margin = entry.at("range_margin");
    estimator.search = entry.at("opt_method") == "golden_section" ? RangeEstimator::Search::golden_section
                                                                  : RangeEstimator::Search::grid;
    estimator.floor = entry.at("eps");
    weight = file->tensor(concat("data.", entry.at("data").get<std::string>(), ".W"));
  }
  bool asymmetric() const { return entry.at("quantizer") == "asymmetric"; }
  // s as the quantizer uses it: floored in the linear domain.
  at::Tensor estimate() const {
    const at::Tensor scale = estimator.estimate(weight, grid, granularity).view({-1});
    return entry.at("scale_domain") == "log" ? scale : scale.clamp_min(entry.at("eps").get<float>());
  }
  at::Tensor stored(const std::string& what) const { return file->tensor(entry, what).view({-1}); }
  // Σ |w - s·clip(round(w / s))|^p of each row, in float64.
  at::Tensor loss(const at::Tensor& scale) const {
    const at::Tensor rows = weight.to(at::kDouble).view({scale.numel(), -1});
    const at::Tensor s = scale.to(at::kDouble).view({-1, 1});
    const at::Tensor error = rows - s * (rows / s).round().clamp(grid.quant_min, grid.quant_max);
    return error.abs().pow(estimator.p).sum(1);
  }

  const GoldenFile* file;
  Json entry;
  std::string name;
  Grid grid;
  Granularity granularity;
  RangeEstimator estimator;
  at::Tensor weight;
};

// Scales of the rows differ by orders of magnitude: their logarithms are compared, that is, relative errors.
bool compare_scales(Comparer& comparer, const RangeCase& c, const at::Tensor& scale, double tolerance) {
  return comparer.check(c.name, "scale", c.stored("scale").to(at::kDouble).log(), scale.to(at::kDouble).log(),
                        tolerance, 1.0);
}

// Relative, of each row. One float32 unit of s moves s·q by up to 2^-23 |w|, and so the loss, a sum of p-th
// powers of an error e, by p · 2^-23 max|w| / e: more than kGridLoss where a constant row is met almost
// exactly.
at::Tensor loss_tolerance(const RangeCase& c, const at::Tensor& loss) {
  const at::Tensor rows = c.weight.to(at::kDouble).view({loss.numel(), -1});
  const at::Tensor error = (loss / static_cast<double>(rows.size(1))).pow(1.0 / c.estimator.p);
  return (c.estimator.p * 0x1p-23 * rows.abs().amax(1) / error.clamp_min(1e-30)).clamp(kGridLoss, 0.01);
}

template <typename Visit>
int for_each_case(const Visit& visit) {
  const GoldenFile file("range_estimators");
  int asymmetric = 0;
  for (const Json& entry : file.cases()) {
    const RangeCase c(file, entry);
    if (c.asymmetric()) {
      ++asymmetric;
    } else {
      visit(c);
    }
  }
  return asymmetric;
}

TEST(GoldenRangeEstimators, MinMaxAndPercentile) {
  Comparer comparer;
  int percentile = 0;
  for_each_case([&](const RangeCase& c) {
    if (c.estimator.kind != RangeEstimator::Kind::minmax) return;
    compare_scales(comparer, c, c.estimate(), kMinMax);
    percentile += c.estimator.percentile > 0.0;
  });
  EXPECT_GT(comparer.compared(), 0);
  EXPECT_GT(percentile, 0);
}

TEST(GoldenRangeEstimators, LpGrid) {
  Comparer comparer;
  std::int64_t safe_rows = 0, rows = 0;
  for_each_case([&](const RangeCase& c) {
    if (c.estimator.kind != RangeEstimator::Kind::lp || c.estimator.search != RangeEstimator::Search::grid)
      return;
    const at::Tensor ours = c.estimate(), stored = c.stored("scale");
    const at::Tensor best = c.loss(stored), gap = c.stored("rel_gap");
    const at::Tensor tolerance = loss_tolerance(c, best);
    const at::Tensor safe = gap.gt(tolerance).logical_or(best.eq(0));
    compare_scales(comparer, c, at::where(safe, ours, stored), kGridScale);
    const at::Tensor allowed = best * tolerance + 1e-300;
    comparer.check(c.name, "loss", best / allowed, c.loss(ours) / allowed, 1.0, 1.0);
    safe_rows += safe.sum().item<std::int64_t>();
    rows += safe.numel();
  });
  RecordProperty("safe", concat(safe_rows, "/", rows));
  EXPECT_GT(10 * safe_rows, 8 * rows) << "most rows are compared by scale";
}

TEST(GoldenRangeEstimators, LpGoldenSection) {
  std::int64_t near = 0, rows = 0, cases = 0, controls = 0;
  for_each_case([&](const RangeCase& c) {
    if (c.estimator.search != RangeEstimator::Search::golden_section) return;
    const at::Tensor ours = c.estimate(), stored = c.stored("scale");
    const at::Tensor live = c.weight.reshape({ours.numel(), -1}).abs().amax(1).gt(0);
    const at::Tensor theirs = c.loss(stored);
    const at::Tensor whole =
        c.weight.to(at::kDouble).reshape({ours.numel(), -1}).abs().pow(c.estimator.p).sum(1);
    const at::Tensor size = theirs.maximum(1e-5 * whole).clamp_min(1e-300);
    const at::Tensor worse = at::where(live, (c.loss(ours) - theirs) / size, at::zeros_like(theirs));
    EXPECT_LE(worse.max().item<double>(), kGoldenLoss) << c.name;
    near += (ours / stored - 1.0).abs().lt(1e-3).logical_and(live).sum().item<std::int64_t>();
    rows += live.sum().item<std::int64_t>();
    // Negative control: a scale a hundred times too small clips nearly everything, which loses nearly all of
    // `whole`. Few bits and an outlier lose most of it with the best scale too: such rows tell nothing.
    const at::Tensor told = theirs.lt(0.5 * whole).logical_and(live);
    const at::Tensor wrong = ((c.loss(0.01 * stored) - theirs) / size).masked_select(told);
    ++cases;
    if (wrong.numel() == 0) return;
    ++controls;
    EXPECT_GT(wrong.min().item<double>(), kGoldenLoss) << c.name;
  });
  EXPECT_GT(10 * controls, 8 * cases) << "negative control";
  RecordProperty("near", concat(near, "/", rows));
  EXPECT_GT(100 * near, 90 * rows) << near << " of " << rows << " rows give the stored scale within 1e-3";
}

// The candidates' losses that are stored are those of the stored scales: our measure of loss is theirs.
TEST(GoldenRangeEstimators, LossIsTheStoredLoss) {
  Comparer comparer;
  for_each_case([&](const RangeCase& c) {
    if (!has_tensor(c.entry, "loss")) return;
    comparer.check(c.name, "loss", c.stored("loss"), c.loss(c.stored("scale")), 1e-6);
  });
  EXPECT_GT(comparer.compared(), 0);
}

template <typename Visit>
int for_each_asymmetric_case(const Visit& visit) {
  const GoldenFile file("range_estimators");
  int count = 0;
  for (const Json& entry : file.cases()) {
    const RangeCase c(file, entry);
    if (!c.asymmetric()) continue;
    visit(c);
    ++count;
  }
  return count;
}

TEST(GoldenRangeEstimators, AsymmetricMinMax) {
  Comparer comparer;
  for_each_asymmetric_case([&](const RangeCase& c) {
    if (c.estimator.kind != RangeEstimator::Kind::minmax) return;
    const auto range = c.estimator.estimate_asymmetric(c.weight, c.grid, c.granularity);
    const bool log = c.entry.at("scale_domain") == "log";
    const at::Tensor scale = range.scale.view({-1});
    compare_scales(comparer, c, log ? scale : scale.clamp_min(c.entry.at("eps").get<float>()), kMinMax);
    comparer.check(c.name, "zero_float", c.stored("zero_float"), range.zero_float, kMinMax);
    const int middle = 1 << (c.grid.num_bits - 1);
    comparer.check(c.name, "zero_point", c.stored("zero_point"),
                   range.zero_point(c.grid).to(at::kFloat) + middle, kExact);
  });
  EXPECT_GT(comparer.compared(), 0);
}

// Σ |w - s·(clip(round(w / s) + z) - z)|^p, in float64.
double asymmetric_loss(const RangeCase& c, const at::Tensor& scale, const at::Tensor& zero_point) {
  const at::Tensor rows = c.weight.to(at::kDouble).view({scale.numel(), -1});
  const at::Tensor s = scale.to(at::kDouble).view({-1, 1}), z = zero_point.to(at::kDouble).view({-1, 1});
  const at::Tensor q = ((rows / s).round() + z).clamp(0, (1 << c.grid.num_bits) - 1) - z;
  return (rows - s * q).abs().pow(c.estimator.p).sum().item<double>();
}

// Our search moves both ends together and then each alone: never worse than covering [min, max], and near to
// the reference's, which tries every pair.
TEST(GoldenRangeEstimators, AsymmetricSearchIsNearTheReference) {
  int cases = 0, near = 0;
  for_each_asymmetric_case([&](const RangeCase& c) {
    if (c.estimator.kind != RangeEstimator::Kind::lp) return;
    const int middle = 1 << (c.grid.num_bits - 1);
    const auto loss = [&](const RangeEstimator& estimator) {
      const auto range = estimator.estimate_asymmetric(c.weight, c.grid, c.granularity);
      return asymmetric_loss(c, range.scale, range.zero_point(c.grid).to(at::kFloat) + middle);
    };
    const double ours = loss(c.estimator),
                 theirs = asymmetric_loss(c, c.stored("scale"), c.stored("zero_point"));
    EXPECT_LE(ours, loss(RangeEstimator::parse("minmax")) * (1 + 1e-6)) << c.name;
    near += ours <= 1.5 * theirs ? 1 : 0;
    ++cases;
  });
  RecordProperty("near", concat(near, "/", cases));
  EXPECT_GE(4 * near, 3 * cases) << near << " of " << cases;
}

// Negative control of every scale comparison: an estimator with another exponent or margin is noticed.
TEST(GoldenRangeEstimators, AnotherEstimatorIsNoticed) {
  int noticed = 0, tried = 0;
  for_each_case([&](const RangeCase& c) {
    if (c.estimator.kind != RangeEstimator::Kind::lp || c.estimator.search != RangeEstimator::Search::grid)
      return;
    RangeCase wrong = c;
    wrong.estimator.margin = c.estimator.margin > 0.0 ? 0.0 : 0.5;
    Comparer quiet = Comparer::quiet();
    noticed += compare_scales(quiet, c, wrong.estimate(), kGridScale) ? 0 : 1;
    ++tried;
  });
  RecordProperty("noticed", concat(noticed, "/", tried));
  EXPECT_GT(10 * noticed, 9 * tried) << noticed << " of " << tried;
}

}  // namespace
}  // namespace lrqat::golden
