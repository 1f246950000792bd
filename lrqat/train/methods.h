// The methods that a recipe can name: one row a method, which makes the weight parametrisation of a linear
// from its float weight and puts it together again from a run's files.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <memory>
#include <span>
#include <string>

#include "lrqat/quant/weight_parametrization.h"
#include "lrqat/train/recipe.h"

namespace lrqat::train {

using NamedTensors = std::map<std::string, at::Tensor>;

struct Method {
  std::string name;
  bool trains;  // false: nothing to learn, a run of it takes no steps
  // weight float32 [N, K]; `layer` is the linear's name.
  std::function<std::shared_ptr<quant::WeightParametrization>(const Recipe&, const std::string& layer,
                                                              const at::Tensor& weight)>
      prepare;
  // From buffers() and parameters() by their names in the parametrisation ("phi_0", "lora_a"); null where
  // prepare() makes the same again.
  std::function<std::shared_ptr<quant::WeightParametrization>(const Recipe&, const std::string& layer,
                                                              const NamedTensors& tensors)>
      restore;
};

const Method& find_method(const std::string& name);  // UsageError that lists the names
std::string parse_method(const std::string& name);   // the name itself, checked
std::string known_methods();                         // "lr-qat, rtn"

}  // namespace lrqat::train
