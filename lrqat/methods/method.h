// The table of methods: one row a method, made by the file of its parametrisation. A row says how the weight
// of one linear starts and is restored, and what the rest of the program has to know of the method, so that
// no other code asks for a method by its name. A program that links the library adds rows of its own with
// add_method(). N out_features, K in_features.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lrqat/methods/layer_options.h"
#include "lrqat/ops/compute_type.h"
#include "lrqat/quant/gptq.h"
#include "lrqat/quant/scale_parameter.h"
#include "lrqat/quant/weight_parametrization.h"

namespace lrqat::methods {

using WeightPtr = std::shared_ptr<quant::WeightParametrization>;
using NamedTensors = std::map<std::string, at::Tensor>;

// What a run holds of one linear: its weight's parameters and buffers, by their names in the parametrisation
// ("phi_0", "lora_a").
struct SavedLayer {
  std::string name;
  std::int64_t in_features = 0;
  NamedTensors tensors;
  const at::Tensor& at(const std::string& tensor) const;  // Error where it is missing
};

// Settings of a training whose usual value is another one with this method.
struct MethodDefaults {
  std::optional<double> lr{};
  std::optional<double> scale_lr{};
  std::optional<double> beta2{};
  std::optional<quant::ScaleDomain> scale_domain{};
  std::optional<double> distill_weight{};
  std::optional<ops::ComputeType> compute{};
};

// Which of the options that not every method has are read.
struct MethodOptions {
  bool phi = false;
  bool faithful_downcast = false;
  bool weight_dtype = false;
  bool learn_offset = false;
  bool gradient_scaling = false;
};

struct Method {
  std::string name;
  bool trains = true;              // false: nothing to learn, a run of it takes no steps
  bool has_grid = true;            // false: weights stay float
  bool has_adapters = false;       // a low-rank term: rank and lora_alpha are read
  bool adapters_in_steps = false;  // A·B counts in steps of the grid, not in units of the weight
  bool adapters_stay = false;      // beside the weight, in float: the result is adapters, not integers
  bool trains_weight = false;      // the weight itself, so that nothing of its size is frozen
  bool trains_scales = false;
  MethodOptions reads{};
  MethodDefaults defaults{};

  // --- starts. name: the linear's; weight: float32 [N, K]. UsageError where the options exclude each other.
  // From a float weight, on the scales and zero points of options.range.
  std::function<WeightPtr(const std::string& name, const at::Tensor& weight, const LayerOptions& options)>
      prepare;
  // From integers that something else chose, and the float weight that they were rounded from; null: the
  // method has no integers.
  std::function<WeightPtr(const std::string& name, const quant::RoundedWeight& start,
                          const LayerOptions& options)>
      from_integers{};
  // From a float weight, with adapters that a decomposition of the rounding residue fills (LoftQ); null: the
  // method has no adapters that could start so.
  std::function<WeightPtr(const std::string& name, const at::Tensor& weight, const LayerOptions& options)>
      from_decomposition{};

  std::function<WeightPtr(const SavedLayer& saved, const LayerOptions& options)> restore;
  // Bytes of frozen storage a weight, for estimates; null: nothing is kept besides what is trained.
  std::function<double(const LayerOptions& options)> frozen_bytes{};
};

// All rows, the program's own first.
std::vector<const Method*> all_methods();
const Method& find_method(const std::string& name);  // UsageError that lists the names
std::string known_methods();                         // "lr-qat, l4q, …"

// Adds a row to the table, at the start of a program. UsageError where the name is taken or a row lacks what
// it must have.
void add_method(Method method);

// What restore() of several methods reads. scale: "scale" as a parameter or a buffer of the run.
quant::ScaleParameter saved_scale(const SavedLayer& saved, const quant::ScaleOptions& options);
std::optional<double> saved_clipped_at_start(const SavedLayer& saved);  // older runs do not hold it

// frozen_bytes() of a float weight, and of codes, two a byte where they fit.
double float_bytes(const LayerOptions& options);
double code_bytes(const LayerOptions& options);

}  // namespace lrqat::methods
