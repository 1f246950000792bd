#include "lrqat/train/prepare_student.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "lrqat/base/error.h"
#include "lrqat/start/inits.h"
#include "lrqat/start/prepare.h"
#include "lrqat/train/activation_ranges.h"
#include "lrqat/train/layer_recipe.h"
#include "lrqat/train/methods.h"
#include "lrqat/train/sampler.h"
#include "lrqat/train/train_step.h"

namespace lrqat::train {
namespace {

constexpr std::int64_t kBatchTokens = 2048;  // calibration tokens that go through a layer at once

bool starts_blocks(const Recipe& recipe) {
  const auto inits = used_inits(recipe);
  return std::any_of(inits.begin(), inits.end(), start::starts_blocks);
}

// Tokens of a sequence.
std::int64_t length_of(const Recipe& recipe, const PackedDataset* text) {
  return text != nullptr ? text->sequence_length() : recipe.sequence_length;
}

// Drawn without repetition.
std::vector<at::Tensor> calibration_batches(const Recipe& recipe, const PackedDataset& text) {
  std::int64_t left = calibration_sequences(recipe, &text);
  const std::int64_t rows = calibration_rows(recipe, &text);
  Sampler sampler(text.size(), recipe.seed);
  std::vector<at::Tensor> batches;
  for (; left > 0; left -= rows) batches.push_back(text.batch(sampler.next(std::min(rows, left))));
  return batches;
}

// Of the calibration text, in front of a block; block-wise optimisation has those of the float model too.
std::int64_t hidden_bytes(const Recipe& recipe, const model::Decoder& decoder, const PackedDataset* text) {
  const std::int64_t streams = starts_blocks(recipe) ? 2 : 1;
  const std::int64_t tokens = calibration_sequences(recipe, text) * length_of(recipe, text);
  return 4 * streams * decoder.config().hidden_size * tokens;
}

void prepare_weights(const Recipe& recipe, model::Decoder& student, const formats::WeightSource& source,
                     const PackedDataset* text, ProgressReporter& progress, start::Workspace space) {
  const start::Plan plan = start_plan(recipe);
  if (!starts_from_text(recipe)) return start::start_linears(plan, student, source, progress);
  LRQAT_CHECK(text != nullptr);
  space.hidden_on_disk = hidden_bytes(recipe, student, text) > memory_budget(recipe);
  start::start_linears(plan, student, source, calibration_batches(recipe, *text), progress, space);
}

}  // namespace

start::Plan start_plan(const Recipe& recipe) {
  return {method_of(recipe),
          plan_of(recipe),
          {.gptq_damping = recipe.gptq_damping,
           .gptq_act_order = recipe.gptq_act_order,
           .block_steps = recipe.block_steps,
           .block_batch_size = recipe.block_batch_size,
           .block_lr = recipe.block_lr,
           .block_range_lr = recipe.block_range_lr,
           .seed = recipe.seed}};
}

std::int64_t calibration_rows(const Recipe& recipe, const PackedDataset* text) {
  const std::int64_t rows = std::max<std::int64_t>(1, kBatchTokens / length_of(recipe, text));
  if (!starts_blocks(recipe)) return rows;
  return std::max<std::int64_t>(1, rows / recipe.block_batch_size) * recipe.block_batch_size;
}

std::int64_t calibration_sequences(const Recipe& recipe, const PackedDataset* text) {
  const std::int64_t length = length_of(recipe, text);
  const std::int64_t wanted = (recipe.calibration_tokens + length - 1) / length;
  return text != nullptr ? std::min(text->size(), wanted) : wanted;
}

bool starts_from_text(const Recipe& recipe) {
  const auto inits = used_inits(recipe);
  return std::any_of(inits.begin(), inits.end(), start::needs_text);
}

std::int64_t calibration_bytes(const Recipe& recipe, const model::Decoder& decoder,
                               const PackedDataset* text) {
  if (!starts_from_text(recipe)) return 0;
  const std::int64_t sequences = calibration_sequences(recipe, text);
  const std::int64_t hidden = hidden_bytes(recipe, decoder, text);
  const std::int64_t of_sequence = kept_bytes_per_token(decoder) * length_of(recipe, text);
  const std::int64_t batch = of_sequence * std::min(sequences, calibration_rows(recipe, text));
  std::int64_t most = 0;
  for (const std::string& init : used_inits(recipe))
    most = std::max(most, start::bytes_at_work(init, decoder.layer(0)));
  // Block-wise, the passes over whole batches are over before the block is learned.
  const std::int64_t work =
      starts_blocks(recipe) ? std::max(batch, of_sequence * recipe.block_batch_size + most) : batch + most;
  return (hidden > memory_budget(recipe) ? 0 : hidden) + work;
}

bool has_static_ranges(const Recipe& recipe) {
  return recipe.activations.any() && recipe.activations.range == quant::ActivationRange::fixed;
}

bool needs_calibration(const Recipe& recipe) {
  return starts_from_text(recipe) || has_static_ranges(recipe) || recipe.target_bpw > 0.0;
}

void prepare_student(const Recipe& recipe, model::Decoder& student, const formats::WeightSource& source,
                     const PackedDataset* text, ProgressReporter& progress, start::Workspace space) {
  prepare_weights(recipe, student, source, text, progress, std::move(space));
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
