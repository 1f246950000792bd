// A recipe's method (lrqat/methods/method.h) on the linears of a model: each linear's own options, where it
// starts, and its weight out of a run's files.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>

#include "lrqat/methods/method.h"
#include "lrqat/model/decoder.h"
#include "lrqat/quant/weight_parametrization.h"
#include "lrqat/train/recipe.h"

namespace lrqat::train {

const methods::Method& method_of(const Recipe& recipe);  // its row in the table of methods

std::string parse_method(const std::string& name);  // the name itself, checked

// The defaults of a recipe with this method: what fields have that nobody sets.
Recipe method_defaults(const std::string& name);

// True where the linear, which still has the model's own weight, starts from that weight's integers.
bool starts_from_stored(const methods::Method& method, const Recipe& recipe, const nn::Linear& linear);

// The method's weight for one linear from a run's tensors; null where the linear stays float.
std::shared_ptr<quant::WeightParametrization> restore_layer(const methods::Method& method,
                                                            const Recipe& recipe,
                                                            const methods::SavedLayer& saved);

}  // namespace lrqat::train
