#include "lrqat/train/train_step.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <memory>
#include <numeric>
#include <vector>

#include "lrqat/base/error.h"
#include "lrqat/base/memory.h"
#include "lrqat/nn/checkpoint.h"

namespace lrqat::train {
namespace {

// Hidden states that predict a token, and the tokens that they predict.
at::Tensor predicting(const at::Tensor& hidden) {
  return hidden.narrow(1, 0, hidden.size(1) - 1).reshape({-1, hidden.size(2)});
}
at::Tensor predicted(const at::Tensor& targets) {
  return targets.narrow(1, 1, targets.size(1) - 1).reshape({-1});
}

nn::KnownLogits on_device(const nn::KnownLogits& known, at::Device device) {
  if (device.is_cpu()) return known;
  return [known, device](std::int64_t begin, std::int64_t end) {
    const nn::TeacherLogits logits = known(begin, end);
    const auto moved = [&](const at::Tensor& x) { return x.defined() ? x.to(device) : x; };
    return nn::TeacherLogits{moved(logits.ids), moved(logits.values), moved(logits.rest)};
  };
}

at::Tensor checkpointed_layer(const model::Decoder& decoder, std::int64_t index, const at::Tensor& hidden,
                              bool keeps_product) {
  std::vector<at::Tensor> parameters;
  for (const quant::Parameter& parameter : decoder.layer(index).parameters())
    parameters.push_back(parameter.value);
  const auto product = keeps_product ? std::make_shared<at::Tensor>() : nullptr;
  const auto forward = [&decoder, index, product](at::TensorList inputs) {
    return decoder.layer_forward(index, inputs[0], 0, nullptr, product.get());
  };
  return nn::checkpoint(forward, {hidden}, parameters);
}

}  // namespace

TrainStep::TrainStep(const model::Decoder& student, const Teacher& teacher, const StepOptions& options)
    : student_(student), teacher_(teacher), options_(options) {
  LRQAT_CHECK(options.distill_weight == 0.0 || teacher.exists());
}

at::Tensor TrainStep::student_hidden(const at::Tensor& tokens) const {
  at::Tensor hidden = student_.embed(tokens);
  const std::int64_t first_kept = student_.num_layers() - options_.kept.blocks;
  for (std::int64_t i = 0; i < student_.num_layers(); ++i) {
    hidden = i < first_kept
                 ? checkpointed_layer(student_, i, hidden, i >= first_kept - options_.kept.products)
                 : student_.layer_forward(i, hidden);
  }
  return predicting(student_.final_norm(hidden));
}

std::optional<nn::Distillation> TrainStep::distillation(const at::Tensor& tokens) const {
  if (options_.distill_weight == 0.0) return std::nullopt;
  const at::NoGradGuard no_grad;
  nn::Distillation distillation{.weight = options_.distill_weight, .temperature = options_.temperature};
  if (teacher_.cache != nullptr) {
    distillation.known = on_device(teacher_.cache->logits(tokens.cpu()), tokens.device());
  } else {
    distillation.hidden = predicting(teacher_.model->forward(tokens));
    distillation.head = &teacher_.model->lm_head();
  }
  return distillation;
}

nn::LossSums TrainStep::accumulate(const at::Tensor& tokens, const at::Tensor& targets,
                                   double divisor) const {
  const auto distillation = this->distillation(tokens);
  nn::LossSums sums;
  const at::Tensor loss = nn::linear_cross_entropy(
      student_hidden(tokens), student_.lm_head(), predicted(targets),
      {.divisor = divisor, .softcap = student_.config().final_logit_softcapping}, distillation, &sums);
  torch::autograd::backward({loss}, {});
  return sums;
}

nn::LossSums TrainStep::measure(const PackedDataset& text, ProgressReporter& progress) const {
  std::vector<std::int64_t> all(static_cast<std::size_t>(text.size()));
  std::iota(all.begin(), all.end(), 0);
  return measure(text, all, progress);
}

nn::LossSums TrainStep::measure(const PackedDataset& text, std::span<const std::int64_t> sequences,
                                ProgressReporter& progress) const {
  constexpr std::int64_t kTokens = 512;  // at once: activations stay in the cache
  const at::NoGradGuard no_grad;
  const auto rows = static_cast<std::size_t>(std::max<std::int64_t>(1, kTokens / text.sequence_length()));
  nn::LossSums sums;
  for (std::size_t begin = 0; begin < sequences.size(); begin += rows) {
    const auto indices = sequences.subspan(begin, std::min(rows, sequences.size() - begin));
    const at::Tensor tokens = text.batch(indices).to(student_.device());
    const at::Tensor targets = text.targets(indices).to(student_.device());
    nn::linear_cross_entropy(predicting(student_.forward(tokens)), student_.lm_head(), predicted(targets),
                             {.softcap = student_.config().final_logit_softcapping}, distillation(tokens),
                             &sums);
    progress.update(static_cast<std::int64_t>(begin + indices.size()), concat("loss ", loss(sums)));
  }
  return sums;
}

double TrainStep::loss(const nn::LossSums& sums) const {
  const double weight = options_.distill_weight;
  if (sums.tokens == 0) return 0.0;  // nothing but prompts
  return (weight * sums.divergence + (1.0 - weight) * sums.cross_entropy) / static_cast<double>(sums.tokens);
}

namespace {

// What quantized activations keep besides their values: a mask, and for ranges that are trained x and the
// codes.
std::int64_t activation_bytes_per_token(const model::Decoder& decoder) {
  const quant::ActivationOptions& options = decoder.activations();
  const formats::ModelConfig& config = decoder.config();
  const std::int64_t element = options.learn_range ? 9 : 1;
  const std::int64_t heads = config.num_attention_heads * config.head_dim;
  const std::int64_t kv_heads = config.num_key_value_heads * config.head_dim;
  std::int64_t elements = 0;
  if (options.kv_bits < quant::kFloatBits) elements += 2 * kv_heads;
  if (options.activation_bits < quant::kFloatBits) {
    elements += 2 * config.hidden_size + 2 * heads + kv_heads;
  }
  if (options.down() < quant::kFloatBits) elements += config.intermediate_size;
  return element * elements;
}

}  // namespace

// SmolLM2-135M keeps 2 and 3 % less than this, in float32 and with bfloat16 products (docs/performance.md).
std::int64_t kept_bytes_per_token(const model::Decoder& decoder) {
  const formats::ModelConfig& config = decoder.config();
  const auto groups = decoder.layer(0).linear_groups();
  const std::int64_t heads = config.num_attention_heads * config.head_dim;
  const std::int64_t kv_heads = config.num_key_value_heads * config.head_dim;
  std::int64_t elements = config.hidden_size + heads + kv_heads;  // residual; queries and keys, rotated
  for (const model::ConstLinearGroup& group : groups) {
    for (const nn::Linear* linear : group.linears) elements += linear->out_features();
  }
  // Linears that read the same input keep it once; in bfloat16 it is a copy, and attention keeps its output.
  const bool copies = groups.front().linears.front()->compute() == ops::ComputeType::bfloat16;
  if (copies) elements += heads;
  std::int64_t inputs = 0;
  for (const model::ConstLinearGroup& group : groups) inputs += (copies ? 2 : 4) * group.in_features();
  return 4 * elements + inputs + activation_bytes_per_token(decoder);
}

KeptActivations kept_within(const model::Decoder& decoder, std::int64_t budget, std::int64_t tokens) {
  const std::int64_t block = kept_bytes_per_token(decoder) * tokens, layers = decoder.num_layers();
  const std::int64_t product = 4 * decoder.config().hidden_size * tokens;
  const std::int64_t left = std::max<std::int64_t>(budget - block, 0);
  KeptActivations kept;
  kept.products = std::min(left / product, layers);
  kept.blocks = std::min((left - kept.products * product) / (block - product), layers);
  kept.products = std::min(kept.products, layers - kept.blocks);
  return kept;
}

double activation_bytes(const Recipe& recipe, const model::Decoder& decoder, const KeptActivations& kept) {
  const auto tokens = static_cast<double>(recipe.batch_size) * static_cast<double>(recipe.sequence_length);
  const double block = static_cast<double>(kept_bytes_per_token(decoder)) * tokens;
  const double hidden = 4.0 * static_cast<double>(decoder.config().hidden_size) * tokens;
  return block * static_cast<double>(kept.blocks + 1) +
         hidden * static_cast<double>(decoder.num_layers() + kept.products);
}

std::int64_t memory_budget(const Recipe& recipe) {
  return recipe.memory_budget > 0 ? recipe.memory_budget : available_memory_bytes() / 2;
}

KeptActivations kept_activations(const Recipe& recipe, const model::Decoder& student) {
  if (recipe.checkpointing == Checkpointing::none) return {.blocks = student.num_layers()};
  if (recipe.checkpointing == Checkpointing::block) return {};
  return kept_within(student, memory_budget(recipe), recipe.batch_size * recipe.sequence_length);
}

}  // namespace lrqat::train
