// The table of transforms: changes of a model that leave its function as it is, so that its weights round
// better. One row a transform; --init names it as it names a start. It changes the float weights of a block
// before they start, by calibration text. A program that links the library adds rows of its own with
// add_transform(). N out_features, K in_features.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "lrqat/quant/range_estimator.h"
#include "lrqat/start/layer_pass.h"

namespace lrqat::start {

// What a block's function is made of, float32; changed in place.
struct LayerWeights {
  std::map<std::string, at::Tensor> matrices;  // [N, K], by the linears' names
  // What the norms in front of groups multiply by (Gemma's stored weight plus 1), by their tensors' names.
  std::map<std::string, at::Tensor> norms;
};

// The grid of a linear that takes part in the transform; nothing: it does not, and must stay as it is.
using SpecOf = std::function<std::optional<quant::QuantSpec>(const nn::Linear& linear)>;

struct Transform {
  std::string name;  // of --init
  std::string help;
  bool needs_grid = true;      // false: methods whose weights stay float take it too
  std::string then = "range";  // the start of the linears that take part
  // block: still float, of whose inputs the transform may ask.
  std::function<void(const Block& block, const SpecOf& spec_of, LayerWeights& weights)> apply;
  // Most bytes at work for a layer, besides hidden states and what is kept; null: few.
  std::function<std::int64_t(const model::DecoderLayer& layer)> bytes{};
};

std::vector<const Transform*> all_transforms();
const Transform* find_transform(const std::string& name);  // null: no such row

// Adds a row to the table, at the start of a program. UsageError where the name is taken or the row lacks
// what it must have.
void add_transform(Transform transform);

// Whether a start or a transform has this name.
bool is_init(const std::string& name);

}  // namespace lrqat::start
