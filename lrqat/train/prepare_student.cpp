#include "lrqat/train/prepare_student.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <optional>

#include "lrqat/base/error.h"
#include "lrqat/base/memory.h"
#include "lrqat/data/sampler.h"
#include "lrqat/model/source_weight.h"
#include "lrqat/quant/awq.h"
#include "lrqat/quant/gptq.h"
#include "lrqat/quant/integer_weight.h"
#include "lrqat/quant/tile_math.h"
#include "lrqat/start/channel_scales.h"
#include "lrqat/start/input_statistics.h"
#include "lrqat/start/layer_pass.h"
#include "lrqat/train/activation_ranges.h"
#include "lrqat/train/layer_recipe.h"
#include "lrqat/train/methods.h"
#include "lrqat/train/train_step.h"

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

// GPTQ: prepares one group after the other, each from the inputs that those before it produce.
class GroupPreparation {
 public:
  GroupPreparation(const Recipe& recipe, const formats::WeightSource& source)
      : recipe_(recipe), method_(find_method(recipe.method)), source_(source) {}

  void prepare(start::Block& block) const {
    block.prepare_in_order([&](const model::LinearGroup& group, const start::ForEachInput& inputs) {
      std::optional<quant::GptqFactor> factor;
      if (wants_input(group)) {
        factor = quant::GptqFactor::from_hessian(start::input_hessian(group, inputs, block.device()),
                                                 recipe_.gptq_damping, recipe_.gptq_act_order);
      }
      for (nn::Linear* linear : group.linears) prepare(*linear, factor);
    });
  }

 private:
  bool wants_input(const model::LinearGroup& group) const {
    return std::any_of(group.linears.begin(), group.linears.end(), [&](const nn::Linear* linear) {
      const auto own = layer_recipe(recipe_, linear->name());
      return own && own->init == "gptq";
    });
  }

  void prepare(nn::Linear& linear, const std::optional<quant::GptqFactor>& factor) const {
    const std::string tensor = linear.name() + ".weight";
    const at::Tensor weight = model::read_tensor(source_, tensor);
    const auto own = layer_recipe(recipe_, linear.name());
    std::shared_ptr<quant::WeightParametrization> prepared;
    if (own && own->init == "gptq") {
      prepared = prepare_gptq(method_, *own, linear.name(), weight.to(factor->upper.device()), *factor);
    } else if (own) {
      prepared = prepare_layer(method_, recipe_, linear, weight.to(linear.weight()->device()));
    }
    if (prepared) linear.set_weight(std::move(prepared));
    source_.release(tensor);
  }

  const Recipe& recipe_;
  const Method& method_;
  const formats::WeightSource& source_;
};

// AWQ: rescales the channels of a block and prepares its linears from the rescaled weights.
class LayerPreparation {
 public:
  LayerPreparation(const Recipe& recipe, const formats::WeightSource& source, model::Decoder& student)
      : recipe_(recipe), method_(find_method(recipe.method)), source_(source), student_(student) {}

  void prepare(const start::Block& block) const {
    const auto statistics = start::input_statistics(block);
    const auto groups = block.layer().linear_groups();
    start::LayerWeights weights = read_weights(groups);
    for (std::size_t i = 0; i < groups.size(); ++i) {
      if (can_rescale(groups[i])) rescale(groups[i], statistics[i], weights);
    }
    for (const model::LinearGroup& group : groups) replace(group, weights);
  }

 private:
  start::LayerWeights read_weights(const std::vector<model::LinearGroup>& groups) const {
    start::LayerWeights weights;
    for (const model::LinearGroup& group : groups) {
      if (const nn::RmsNorm* norm = group.producer.norm; norm != nullptr)
        weights.norms[group.producer.norm_name] = norm->weight + norm->offset;
      for (const nn::Linear* one : group.linears) {
        const std::string tensor = one->name() + ".weight";
        weights.matrices[one->name()] = model::read_tensor(source_, tensor).to(student_.device());
        source_.release(tensor);
      }
    }
    return weights;
  }

  bool takes_part(const nn::Linear& linear) const {
    const auto own = layer_recipe(recipe_, linear.name());
    return own && own->init == "awq";
  }

  // All of its linears take part (a float one beside them would need its weight stored anew), and what feeds
  // them: a bias would have to be divided too.
  bool can_rescale(const model::LinearGroup& group) const {
    const nn::Linear* producer = group.producer.linear;
    if (producer != nullptr && (producer->bias().defined() || !takes_part(*producer))) return false;
    return std::all_of(group.linears.begin(), group.linears.end(),
                       [&](const nn::Linear* linear) { return takes_part(*linear); });
  }

  void rescale(const model::LinearGroup& group, quant::InputStatistics input,
               start::LayerWeights& weights) const {
    if (group.producer.copies > 1) input.mean_abs = start::shared_by_copies(input.mean_abs, group);
    std::vector<at::Tensor> matrices;
    std::vector<quant::RoundValues> round;
    for (const nn::Linear* linear : group.linears) {
      matrices.push_back(weights.matrices.at(linear->name()));
      round.push_back(rounding_of(linear->name()));
    }
    start::fold(group, quant::search_channel_scales(matrices, input, round), weights);
  }

  // Gives the linears, and the norm that feeds them, what the weights are now.
  void replace(const model::LinearGroup& group, const start::LayerWeights& weights) const {
    if (const nn::RmsNorm* norm = group.producer.norm; norm != nullptr) {
      const at::Tensor& factor = weights.norms.at(group.producer.norm_name);
      if (!at::equal(norm->weight + norm->offset, factor))
        student_.replace(group.producer.norm_name, factor - norm->offset);
    }
    for (nn::Linear* linear : group.linears) {
      auto prepared = prepare_layer(method_, recipe_, *linear, weights.matrices.at(linear->name()));
      if (prepared) linear->set_weight(std::move(prepared));
    }
  }

  // On the linear's own grid with the min-max range, which is quick.
  quant::RoundValues rounding_of(const std::string& layer) const {
    return [spec = layer_recipe(recipe_, layer)->spec(), layer](const at::Tensor& weight) {
      return quant::values_of(quant::IntegerWeight(layer, quant::round_to_nearest(layer, weight, spec)));
    };
  }

  const Recipe& recipe_;
  const Method& method_;
  const formats::WeightSource& source_;
  model::Decoder& student_;
};

std::int64_t weights_of(const nn::Linear& linear) { return linear.out_features() * linear.in_features(); }

// A Hessian that becomes its factor, the weight, what it was rounded from and codes, rows at work.
std::int64_t gptq_bytes(const model::DecoderLayer& layer) {
  constexpr std::int64_t kRows = std::int64_t{128} << 20;  // a few of gptq()'s pieces of rows
  std::int64_t most = 0;
  for (const nn::Linear* linear : layer.linears()) {
    const std::int64_t k = linear->in_features();
    most = std::max(most, 4 * k * k + 9 * weights_of(*linear));
  }
  return most + kRows;
}

// All matrices and Hessians of a layer; the candidate of one matrix, its codes, values and output error.
std::int64_t awq_bytes(const model::DecoderLayer& layer) {
  std::int64_t all = 0, largest = 0;
  for (const model::ConstLinearGroup& group : layer.linear_groups()) {
    for (const nn::Linear* linear : group.linears) {
      all += 4 * weights_of(*linear);
      largest = std::max(largest, weights_of(*linear));
    }
    all += 4 * group.in_features() * group.in_features();
  }
  return all + 14 * largest;
}

bool has_static_ranges(const Recipe& recipe) {
  return recipe.activations.any() && recipe.activations.range == quant::ActivationRange::fixed;
}

void prepare_weights(const Recipe& recipe, model::Decoder& student, const formats::WeightSource& source,
                     const data::PackedDataset* text, ProgressReporter& progress) {
  if (!starts_from_text(recipe)) {
    return prepare_linears(find_method(recipe.method), recipe, student, source, progress);
  }
  LRQAT_CHECK(text != nullptr);
  start::LayerPass pass(student, calibration_batches(recipe, *text));
  if (uses_value(recipe, "init", "awq")) {
    const LayerPreparation layers(recipe, source, student);
    pass.run([&](start::Block& block) { layers.prepare(block); }, progress);
  } else {
    const GroupPreparation groups(recipe, source);
    pass.run([&](start::Block& block) { groups.prepare(block); }, progress);
  }
}

}  // namespace

bool starts_from_text(const Recipe& recipe) {
  return uses_value(recipe, "init", "gptq") || uses_value(recipe, "init", "awq");
}

std::int64_t calibration_bytes(const Recipe& recipe, const model::Decoder& decoder) {
  if (!starts_from_text(recipe)) return 0;
  const std::int64_t length = recipe.sequence_length;
  const std::int64_t tokens = (recipe.calibration_tokens + length - 1) / length * length;
  const std::int64_t batch = std::min(tokens, std::max(kBatchTokens / length, std::int64_t{1}) * length);
  const model::DecoderLayer& layer = decoder.layer(0);
  return 4 * decoder.config().hidden_size * tokens + kept_bytes_per_token(decoder) * batch +
         (uses_value(recipe, "init", "awq") ? awq_bytes(layer) : gptq_bytes(layer));
}

bool needs_calibration(const Recipe& recipe) { return starts_from_text(recipe) || has_static_ranges(recipe); }

void prepare_student(const Recipe& recipe, model::Decoder& student, const formats::WeightSource& source,
                     const data::PackedDataset* text, ProgressReporter& progress) {
  prepare_weights(recipe, student, source, text, progress);
  student.set_activations(recipe.activations);
  if (!has_static_ranges(recipe)) return;
  LRQAT_CHECK(text != nullptr);
  observe_activations(student, *text, recipe, progress);
}

std::vector<std::string> trained_floats(const Recipe& recipe, const model::Decoder& decoder) {
  std::vector<std::string> names;
  if (recipe.train_norms) names = decoder.norm_names();
  const bool tied = decoder.config().tie_word_embeddings;
  if (recipe.train_embeddings || (recipe.train_head && tied)) names.emplace_back("model.embed_tokens.weight");
  if (recipe.train_head && !tied) names.emplace_back("lm_head.weight");
  return names;
}

void train_floats(const Recipe& recipe, model::Decoder& student) {
  for (const std::string& name : trained_floats(recipe, student)) {
    LRQAT_CHECK(student.replace(name, student.float_tensor(name).set_requires_grad(true)), name);
  }
}

}  // namespace lrqat::train
