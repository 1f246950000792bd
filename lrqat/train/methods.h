// The methods that a recipe can name: one row a method, which makes the weight parametrisation of a linear
// from its float weight and puts it together again from a run's files.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <memory>
#include <span>
#include <string>

#include "lrqat/base/progress.h"
#include "lrqat/model/decoder.h"
#include "lrqat/model/source_weight.h"
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
  bool has_grid = true;  // false: weights stay float
  // From integers that a post-training method chose (--init gptq); null: the method has no integers.
  std::shared_ptr<quant::WeightParametrization> (*start)(const Recipe&, const std::string& layer,
                                                         const quant::RoundedStart&) = nullptr;
  bool adapters_in_steps = false;  // A·B counts in steps of the grid, not in units of the weight
  bool adapters_stay = false;      // beside the weight, in float: the result is adapters, not integers
  bool svd_start = false;          // adapters may start from a decomposition (--init svd)
};

const Method& find_method(const std::string& name);  // UsageError that lists the names
std::string parse_method(const std::string& name);   // the name itself, checked
std::string known_methods();                         // "lr-qat, l4q, …"

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
