// A recipe's method (lrqat/methods/method.h) on the linears of a model: each linear's own options, where it
// starts, and its weight out of a run's files.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>

#include "lrqat/base/progress.h"
#include "lrqat/formats/weight_source.h"
#include "lrqat/methods/method.h"
#include "lrqat/model/decoder.h"
#include "lrqat/quant/gptq.h"
#include "lrqat/quant/weight_parametrization.h"
#include "lrqat/train/recipe.h"

namespace lrqat::train {

using methods::find_method;
using methods::known_methods;
using methods::Method;
using methods::NamedTensors;
using methods::SavedLayer;

std::string parse_method(const std::string& name);  // the name itself, checked

// The defaults of a recipe with this method: what fields have that nobody sets.
Recipe method_defaults(const std::string& name);

// The method's weight for one linear, overrides applied; null where the linear stays float. `stored`: the
// integers that `weight` are the values of, where the model has some. With --init auto or stored they are the
// start, codes and scales bit for bit, wherever they lie on the recipe's grid; Error where the recipe's scale
// type does not hold the scales, and with --init stored where they lie on another grid.
std::shared_ptr<quant::WeightParametrization> prepare_layer(const Method& method, const Recipe& recipe,
                                                            const std::string& layer,
                                                            const at::Tensor& weight,
                                                            const quant::QuantizedWeight* stored = nullptr);
// The same for a linear that still has the model's own weight, which is where stored integers are looked for.
std::shared_ptr<quant::WeightParametrization> prepare_layer(const Method& method, const Recipe& recipe,
                                                            const nn::Linear& linear,
                                                            const at::Tensor& weight);
// True where the linear with the model's own weight starts from that weight's integers.
bool starts_from_stored(const Method& method, const Recipe& recipe, const nn::Linear& linear);

// Gives every linear of `decoder`, the model of `source`, its weight. Says how many start from integers.
void prepare_linears(const Method& method, const Recipe& recipe, model::Decoder& decoder,
                     const formats::WeightSource& source, ProgressReporter& progress);

// The method's weight from the integers of GPTQ. recipe: the layer's own; weight float32 [N, K].
std::shared_ptr<quant::WeightParametrization> prepare_gptq(const Method& method, const Recipe& recipe,
                                                           const std::string& layer, const at::Tensor& weight,
                                                           const quant::GptqFactor& factor);
// UsageError where the method has no such start.
void check_init(const Method& method, const std::string& init);
// The same from a run's tensors.
std::shared_ptr<quant::WeightParametrization> restore_layer(const Method& method, const Recipe& recipe,
                                                            const SavedLayer& saved);

}  // namespace lrqat::train
