#include "lrqat/train/trained_parameters.h"

#include <algorithm>

namespace lrqat::train {
namespace {

enum ClipGroup { kAdapters, kScales, kFloats };

nn::TrainedParameter with_rate(const Recipe& recipe, const quant::Parameter& parameter) {
  if (parameter.kind == quant::ParameterKind::scale)
    return {parameter.name, parameter.value, recipe.scale_lr * parameter.rate, 0.0, kScales};
  if (parameter.kind == quant::ParameterKind::float_tensor)
    return {parameter.name, parameter.value, recipe.float_lr * parameter.rate, 0.0, kFloats};
  return {parameter.name, parameter.value, recipe.lr * parameter.rate, recipe.weight_decay, kAdapters};
}

}  // namespace

std::vector<nn::TrainedParameter> trained_parameters(const Recipe& recipe, const model::Decoder& student) {
  std::vector<nn::TrainedParameter> all;
  for (const quant::Parameter& parameter : student.parameters()) all.push_back(with_rate(recipe, parameter));
  std::stable_sort(all.begin(), all.end(), [](const nn::TrainedParameter& a, const nn::TrainedParameter& b) {
    return a.clip_group < b.clip_group;
  });
  return all;
}

}  // namespace lrqat::train
