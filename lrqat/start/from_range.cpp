// Starts from the float weight alone, on a range that an estimator finds in it.
#include "lrqat/start/rows.h"

namespace lrqat::start {
namespace {

using quant::RangeEstimator;

Given estimated(const LinearInput& linear) { return linear.options.range; }

// With these the first Ŵ is rounding to nearest, code by code.
void set_rtn(RangeEstimator& range, bool& faithful_downcast) {
  range = RangeEstimator::parse("minmax");
  faithful_downcast = true;
}

void set_lp(RangeEstimator& range, bool& faithful_downcast) {
  if (range.kind != RangeEstimator::Kind::lp) range = RangeEstimator::parse("lp:3.5");
  faithful_downcast = true;
}

}  // namespace

Start range_start() { return {.name = "range", .help = "`range`", .needs_grid = false, .linear = estimated}; }

Start rtn_start() {
  return {.name = "rtn", .help = "rounding to nearest, min-max range", .sets = set_rtn, .linear = estimated};
}

Start lp_start() {
  return {.name = "lp", .help = "rounding to nearest, L_p range", .sets = set_lp, .linear = estimated};
}

}  // namespace lrqat::start
