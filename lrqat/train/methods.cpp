#include "lrqat/train/methods.h"

#include <ATen/ATen.h>

#include "lrqat/base/error.h"
#include "lrqat/quant/integer_weight.h"

namespace lrqat::train {
namespace {

using WeightPtr = std::shared_ptr<quant::WeightParametrization>;

// Each layer starts from numbers of its own, whatever the order in which layers are prepared (FNV-1a).
std::uint64_t layer_seed(std::uint64_t seed, const std::string& layer) {
  std::uint64_t hash = 0xcbf29ce484222325ULL ^ seed;
  for (const char c : layer) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  return hash;
}

const at::Tensor& tensor_of(const NamedTensors& tensors, const std::string& layer, const std::string& name) {
  const auto found = tensors.find(name);
  if (found == tensors.end()) fail("the run holds no tensor \"", layer, ".", name, "\"");
  return found->second;
}

WeightPtr prepare_lr_qat(const Recipe& recipe, const std::string& layer, const at::Tensor& weight) {
  return quant::LrQatWeight::prepare(layer, weight, recipe.lr_qat_options(), recipe.range,
                                     layer_seed(recipe.seed, layer));
}

WeightPtr restore_lr_qat(const Recipe& recipe, const std::string& layer, const NamedTensors& tensors) {
  const quant::LrQatOptions options = recipe.lr_qat_options();
  const at::Tensor& lora_b = tensor_of(tensors, layer, "lora_b");
  const at::Tensor& phi_0 = tensor_of(tensors, layer, "phi_0");
  return std::make_shared<quant::LrQatWeight>(
      options, quant::Phi0(phi_0, lora_b.size(1), options.downcast, options.grid, layer),
      quant::ScaleParameter::from_value(tensor_of(tensors, layer, "scale"), options.scale),
      tensor_of(tensors, layer, "lora_a"), lora_b);
}

WeightPtr prepare_rtn(const Recipe& recipe, const std::string& layer, const at::Tensor& weight) {
  return std::make_shared<quant::IntegerWeight>(
      layer, quant::round_to_nearest(layer, weight, quant::Grid::signed_symmetric(recipe.bits),
                                     recipe.granularity, recipe.range, recipe.scale_options()));
}

const std::vector<Method>& methods() {
  static const std::vector<Method> table = {
      {"lr-qat", true, prepare_lr_qat, restore_lr_qat},
      {"rtn", false, prepare_rtn, nullptr},
  };
  return table;
}

}  // namespace

std::string known_methods() {
  std::string names;
  for (const Method& method : methods()) names += (names.empty() ? "" : ", ") + method.name;
  return names;
}

const Method& find_method(const std::string& name) {
  for (const Method& method : methods()) {
    if (method.name == name) return method;
  }
  throw UsageError(concat("--method \"", name, "\" is not known: use one of ", known_methods()));
}

std::string parse_method(const std::string& name) { return find_method(name).name; }

}  // namespace lrqat::train
