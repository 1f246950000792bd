// The methods that a recipe can name: one row a method, which makes the weight parametrisation of a linear
// from its float weight and puts it together again from a run's files.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <memory>
#include <span>
#include <string>

#include "lrqat/quant/gptq.h"
#include "lrqat/quant/weight_parametrization.h"
#include "lrqat/train/recipe.h"

namespace lrqat::train {

using NamedTensors = std::map<std::string, at::Tensor>;

// What a run holds of one linear.
struct SavedLayer {
  std::string name;
  std::int64_t in_features = 0;
  NamedTensors tensors;
  const at::Tensor& at(const std::string& tensor) const;  // Error where it is missing
};

struct Method {
  std::string name;
  bool trains;  // false: nothing to learn, a run of it takes no steps
  // weight float32 [N, K]; `layer` is the linear's name.
  std::function<std::shared_ptr<quant::WeightParametrization>(const Recipe&, const std::string& layer,
                                                              const at::Tensor& weight)>
      prepare;
  // From buffers() and parameters() by their names in the parametrisation ("phi_0", "lora_a").
  std::function<std::shared_ptr<quant::WeightParametrization>(const Recipe&, const SavedLayer&)> restore;
  // Sets the fields whose usual value is another one with this method; null: none.
  void (*defaults)(Recipe&) = nullptr;
  // For estimates: bytes of frozen storage a weight, what is trained.
  double (*frozen_bytes)(const Recipe&) = nullptr;  // null: nothing is kept besides the trainables
  bool has_adapters = false;
  bool trains_weight = false;
  // From integers that a post-training method chose (--init gptq); null: the method starts from float weights
  // only.
  std::shared_ptr<quant::WeightParametrization> (*start)(const Recipe&, const std::string& layer,
                                                         const quant::RoundedStart&) = nullptr;
  bool adapters_in_steps = false;  // A·B counts in steps of the grid, not in units of the weight
};

const Method& find_method(const std::string& name);  // UsageError that lists the names
std::string parse_method(const std::string& name);   // the name itself, checked
std::string known_methods();                         // "lr-qat, l4q, …"

// The defaults of a recipe with this method: what fields have that nobody sets.
Recipe method_defaults(const std::string& name);

// The method's weight for one linear, overrides applied; null where the linear stays float.
std::shared_ptr<quant::WeightParametrization> prepare_layer(const Method& method, const Recipe& recipe,
                                                            const std::string& layer,
                                                            const at::Tensor& weight);
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
