// Two models tensor by tensor, whatever files they come from: integers and scales where both have them,
// values otherwise.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lrqat/base/progress.h"
#include "lrqat/model/decoder.h"

namespace lrqat::exporting {

struct TensorDifference {
  std::string name;
  std::string what;               // "integers" where both have them, else "values"
  std::int64_t elements = 0;      // that differ; 0: only scales of zero codes do
  double largest_difference = 0;  // of two values
};

struct Comparison {
  std::int64_t tensors = 0;
  std::vector<TensorDifference> differing;  // in model order
  double largest_difference = 0;
};

// Codes, zero points and scales that stand for the same weight; a scale for the whole tensor is one a row.
bool same_integers(const quant::QuantizedWeight& a, const quant::QuantizedWeight& b);

// Error where the models have other tensors or shapes.
Comparison compare_models(const model::Decoder& a, const model::Decoder& b, ProgressReporter& progress);

}  // namespace lrqat::exporting
