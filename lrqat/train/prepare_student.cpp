#include "lrqat/train/prepare_student.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <optional>

#include "lrqat/base/error.h"
#include "lrqat/base/memory.h"
#include "lrqat/data/sampler.h"
#include "lrqat/model/source_weight.h"
#include "lrqat/quant/awq.h"
#include "lrqat/quant/gptq.h"
#include "lrqat/quant/integer_weight.h"
#include "lrqat/quant/tile_math.h"
#include "lrqat/start/calibrate.h"
#include "lrqat/start/channel_scales.h"
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

// AWQ: rescales the channels of a layer and prepares its linears from the rescaled weights.
class LayerPreparation {
 public:
  LayerPreparation(const Recipe& recipe, const formats::WeightSource& source, model::Decoder& student)
      : recipe_(recipe), method_(find_method(recipe.method)), source_(source), student_(student) {}

  void prepare(std::int64_t index, const start::LayerInputs& inputs) const {
    model::DecoderLayer& layer = student_.layer(index);
    const auto linears = layer.linears();
    start::LayerWeights weights;
    const nn::RmsNorm &input = layer.input_layernorm(), &feed_forward = layer.feed_forward_norm();
    weights.input_norm = input.weight + input.offset;
    weights.feed_forward_norm = feed_forward.weight + feed_forward.offset;
    for (std::size_t i = 0; i < linears.size(); ++i) {
      weights.matrices.at(i) =
          model::read_tensor(source_, linears[i]->name() + ".weight").to(student_.device());
      source_.release(linears[i]->name() + ".weight");
    }
    fold_all(layer, inputs, weights);
    const std::string prefix = concat("model.layers.", index, ".");
    replace_norm(prefix + "input_layernorm.weight", input, weights.input_norm);
    replace_norm(prefix + layer.feed_forward_norm_name(), feed_forward, weights.feed_forward_norm);
    for (std::size_t i = 0; i < linears.size(); ++i) {
      auto prepared = prepare_layer(method_, recipe_, *linears[i], weights.matrices.at(i));
      if (prepared) linears[i]->set_weight(std::move(prepared));
    }
  }

 private:
  // factor: what the norm multiplies by, its offset included.
  void replace_norm(const std::string& name, const nn::RmsNorm& norm, const at::Tensor& factor) const {
    if (!at::equal(norm.weight + norm.offset, factor)) student_.replace(name, factor - norm.offset);
  }

  // True where all of these linears take part: a float one beside them would need its weight stored anew.
  bool takes_part(std::span<nn::Linear* const> linears) const {
    return std::all_of(linears.begin(), linears.end(), [&](const nn::Linear* linear) {
      const auto own = layer_recipe(recipe_, linear->name());
      return own && own->init == "awq";
    });
  }

  // A bias would have to be divided too.
  bool divisible(nn::Linear* producer, nn::Linear* consumer) const {
    return !producer->bias().defined() && takes_part(std::array{producer, consumer});
  }

  void fold_all(model::DecoderLayer& layer, const start::LayerInputs& inputs,
                start::LayerWeights& weights) const {
    const auto linears = layer.linears();
    const std::span<nn::Linear* const> all(linears);
    auto& m = weights.matrices;
    const nn::Attention& attention = layer.self_attn();
    const auto search = [&](std::size_t first, std::size_t count, const quant::InputStatistics& input) {
      std::vector<quant::RoundValues> round;
      for (std::size_t i = first; i < first + count; ++i) round.push_back(rounding_of(linears[i]->name()));
      return quant::search_channel_scales(at::TensorList(&m.at(first), count), input, round);
    };
    if (takes_part(all.subspan(0, 3))) fold({.qkv = search(0, 3, inputs.qkv)}, attention, weights);
    if (divisible(all[2], all[3])) {
      quant::InputStatistics shared = inputs.o;
      shared.mean_abs = start::shared_by_value_heads(shared.mean_abs, attention);
      fold({.o = search(3, 1, shared)}, attention, weights);
    }
    if (takes_part(all.subspan(4, 2))) fold({.gate_up = search(4, 2, inputs.gate_up)}, attention, weights);
    if (divisible(all[5], all[6])) fold({.down = search(6, 1, inputs.down)}, attention, weights);
  }

  // On the linear's own grid with the min-max range, which is quick.
  quant::RoundValues rounding_of(const std::string& layer) const {
    const Recipe own = *layer_recipe(recipe_, layer);
    const quant::Grid grid = quant::Grid::signed_symmetric(own.bits);
    return [own, grid, layer](const at::Tensor& weight) {
      const auto round = own.symmetric ? quant::round_to_nearest : quant::round_to_nearest_asymmetric;
      const quant::IntegerWeight rounded(
          layer, round(layer, weight, grid, own.grid_granularity(), {}, own.scale_options()));
      return quant::values_of(rounded);
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
  const auto linears = layer.linears();  // q, k, v, o, gate, up, down
  for (const nn::Linear* linear : linears) {
    all += 4 * weights_of(*linear);
    largest = std::max(largest, weights_of(*linear));
  }
  for (const std::size_t i : {0, 3, 4, 6}) all += 4 * linears[i]->in_features() * linears[i]->in_features();
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
  const auto batches = calibration_batches(recipe, *text);
  if (uses_value(recipe, "init", "awq")) {
    const LayerPreparation layers(recipe, source, student);
    start::calibrate_layers(
        student, batches, [&](std::int64_t i, const auto& inputs) { layers.prepare(i, inputs); }, progress);
    return;
  }
  const GroupPreparation groups(recipe, source);
  start::calibrate(student, batches,
                   {[&](const auto& linears) { return groups.wants_input(linears); },
                    [&](const auto& linears, const auto& hessian) { groups.prepare(linears, hessian); }},
                   progress);
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
