#include "lrqat/train/prepare_student.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <optional>

#include "lrqat/base/error.h"
#include "lrqat/base/memory.h"
#include "lrqat/data/sampler.h"
#include "lrqat/model/calibrate.h"
#include "lrqat/model/source_weight.h"
#include "lrqat/quant/gptq.h"
#include "lrqat/train/activation_ranges.h"
#include "lrqat/train/layer_recipe.h"
#include "lrqat/train/methods.h"

namespace lrqat::train {
namespace {

constexpr std::int64_t kBatchTokens = 2048;  // calibration tokens that go through a layer at once

// As many sequences as hold recipe.calibration_tokens, drawn without repetition, or all of them.
std::vector<at::Tensor> calibration_batches(const Recipe& recipe, const data::PackedDataset& text) {
  const std::int64_t length = text.sequence_length();
  std::int64_t left = std::min(text.size(), (recipe.calibration_tokens + length - 1) / length);
  const std::int64_t rows = std::max<std::int64_t>(1, kBatchTokens / length);
  data::Sampler sampler(text.size(), recipe.seed);
  std::vector<at::Tensor> batches;
  for (; left > 0; left -= rows) batches.push_back(text.batch(sampler.next(std::min(rows, left))));
  return batches;
}

// Prepares the linears of one input after the other.
class GroupPreparation {
 public:
  GroupPreparation(const Recipe& recipe, const formats::WeightSource& source)
      : recipe_(recipe), method_(find_method(recipe.method)), source_(source) {}

  bool wants_input(std::span<nn::Linear* const> linears) const {
    return std::any_of(linears.begin(), linears.end(), [&](const nn::Linear* linear) {
      const auto own = layer_recipe(recipe_, linear->name());
      return own && own->init == "gptq";
    });
  }

  void prepare(std::span<nn::Linear* const> linears, const at::Tensor& hessian) const {
    std::optional<quant::GptqFactor> factor;
    if (hessian.defined())
      factor = quant::GptqFactor::from_hessian(hessian, recipe_.gptq_damping, recipe_.gptq_act_order);
    for (nn::Linear* linear : linears) {
      const std::string tensor = linear->name() + ".weight";
      const at::Tensor weight = model::read_tensor(source_, tensor);
      const auto own = layer_recipe(recipe_, linear->name());
      std::shared_ptr<quant::WeightParametrization> prepared;
      if (own && own->init == "gptq") {
        prepared = prepare_gptq(method_, *own, linear->name(), weight.to(hessian.device()), *factor);
      } else if (own) {
        prepared = prepare_layer(method_, recipe_, *linear, weight.to(linear->weight()->device()));
      }
      if (prepared) linear->set_weight(std::move(prepared));
      source_.release(tensor);
    }
  }

 private:
  const Recipe& recipe_;
  const Method& method_;
  const formats::WeightSource& source_;
};

bool starts_from_text(const Recipe& recipe) { return uses_value(recipe, "init", "gptq"); }

bool has_static_ranges(const Recipe& recipe) {
  return recipe.activations.any() && recipe.activations.range == quant::ActivationRange::fixed;
}

void prepare_weights(const Recipe& recipe, model::Decoder& student, const formats::WeightSource& source,
                     const data::PackedDataset* text, ProgressReporter& progress) {
  if (!starts_from_text(recipe)) {
    return prepare_linears(find_method(recipe.method), recipe, student, source, progress);
  }
  LRQAT_CHECK(text != nullptr);
  const GroupPreparation groups(recipe, source);
  const auto batches = calibration_batches(recipe, *text);
  model::calibrate(student, batches,
                   {[&](const auto& linears) { return groups.wants_input(linears); },
                    [&](const auto& linears, const auto& hessian) { groups.prepare(linears, hessian); }},
                   progress);
}

}  // namespace

bool needs_calibration(const Recipe& recipe) { return starts_from_text(recipe) || has_static_ranges(recipe); }

void prepare_student(const Recipe& recipe, model::Decoder& student, const formats::WeightSource& source,
                     const data::PackedDataset* text, ProgressReporter& progress) {
  std::vector<std::string> names;
  for (const nn::Linear* linear : student.linears()) names.push_back(linear->name());
  check_overrides_match(recipe, names);
  prepare_weights(recipe, student, source, text, progress);
  student.set_activations(recipe.activations);
  if (!has_static_ranges(recipe)) return;
  LRQAT_CHECK(text != nullptr);
  observe_activations(student, *text, recipe, progress);
}

}  // namespace lrqat::train
