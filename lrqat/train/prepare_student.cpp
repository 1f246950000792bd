#include "lrqat/train/prepare_student.h"

#include <ATen/ATen.h>

#include <algorithm>

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

// Sequences of a calibration batch; in block-wise optimisation it holds whole steps.
std::int64_t batch_rows(const Recipe& recipe, std::int64_t length) {
  const std::int64_t rows = std::max<std::int64_t>(1, kBatchTokens / length);
  if (!starts_blocks(recipe)) return rows;
  return std::max<std::int64_t>(1, rows / recipe.block_batch_size) * recipe.block_batch_size;
}

// As many sequences as hold recipe.calibration_tokens, drawn without repetition, or all of them.
std::vector<at::Tensor> calibration_batches(const Recipe& recipe, const PackedDataset& text) {
  const std::int64_t length = text.sequence_length();
  std::int64_t left = std::min(text.size(), (recipe.calibration_tokens + length - 1) / length);
  const std::int64_t rows = batch_rows(recipe, length);
  Sampler sampler(text.size(), recipe.seed);
  std::vector<at::Tensor> batches;
  for (; left > 0; left -= rows) batches.push_back(text.batch(sampler.next(std::min(rows, left))));
  return batches;
}

void prepare_weights(const Recipe& recipe, model::Decoder& student, const formats::WeightSource& source,
                     const PackedDataset* text, ProgressReporter& progress) {
  const start::Plan plan{method_of(recipe),
                         plan_of(recipe),
                         {.gptq_damping = recipe.gptq_damping,
                          .gptq_act_order = recipe.gptq_act_order,
                          .block_steps = recipe.block_steps,
                          .block_batch_size = recipe.block_batch_size,
                          .block_lr = recipe.block_lr,
                          .block_range_lr = recipe.block_range_lr,
                          .seed = recipe.seed}};
  if (!starts_from_text(recipe)) return start::start_linears(plan, student, source, progress);
  LRQAT_CHECK(text != nullptr);
  start::start_linears(plan, student, source, calibration_batches(recipe, *text), progress);
}

}  // namespace

bool starts_from_text(const Recipe& recipe) {
  const auto inits = used_inits(recipe);
  return std::any_of(inits.begin(), inits.end(), start::needs_text);
}

std::int64_t calibration_bytes(const Recipe& recipe, const model::Decoder& decoder) {
  if (!starts_from_text(recipe)) return 0;
  const std::int64_t length = recipe.sequence_length;
  const std::int64_t tokens = (recipe.calibration_tokens + length - 1) / length * length;
  const std::int64_t batch = std::min(tokens, batch_rows(recipe, length) * length);
  const std::int64_t streams = starts_blocks(recipe) ? 2 : 1;  // of hidden states: the float model's, too
  std::int64_t most = 0;
  for (const std::string& init : used_inits(recipe))
    most = std::max(most, start::bytes_at_work(init, decoder.layer(0)));
  return 4 * streams * decoder.config().hidden_size * tokens + kept_bytes_per_token(decoder) * batch + most;
}

bool has_static_ranges(const Recipe& recipe) {
  return recipe.activations.any() && recipe.activations.range == quant::ActivationRange::fixed;
}

bool needs_calibration(const Recipe& recipe) { return starts_from_text(recipe) || has_static_ranges(recipe); }

void prepare_student(const Recipe& recipe, model::Decoder& student, const formats::WeightSource& source,
                     const PackedDataset* text, ProgressReporter& progress) {
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
