#include "lrqat/train/fit_to_model.h"

#include "lrqat/model/load.h"
#include "lrqat/train/fit_granularity.h"

namespace lrqat::train {

Recipe fit_to_model(const Recipe& recipe, const model::SharedSource& source, ProgressReporter& progress) {
  Recipe fitted = recipe;
  const auto decoder = model::load_float_model(source);
  fit_granularity(fitted, *decoder, progress);
  return fitted;
}

}  // namespace lrqat::train
