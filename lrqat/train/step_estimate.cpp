#include "lrqat/train/step_estimate.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <optional>

#include "lrqat/nn/linear_cross_entropy.h"
#include "lrqat/nn/optimizer.h"
#include "lrqat/start/prepare.h"
#include "lrqat/train/activation_ranges.h"
#include "lrqat/train/cached_teacher.h"
#include "lrqat/train/layer_recipe.h"
#include "lrqat/train/methods.h"
#include "lrqat/train/prepare_student.h"
#include "lrqat/train/start_estimate.h"

namespace lrqat::train {
namespace {

// The quickest of a few runs: what the machine can do. Long runs are made twice, the first warms up.
double quickest(const std::function<void()>& work) {
  constexpr double kEnough = 2.0;  // seconds of measuring
  double best = 0, total = 0;
  for (int run = 0; run < 2 || (run < 5 && total < kEnough); ++run) {
    const auto begin = std::chrono::steady_clock::now();
    work();
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin;
    best = run == 0 ? elapsed.count() : std::min(best, elapsed.count());
    total += elapsed.count();
  }
  return best;
}

// Sequences of a micro-batch that are measured: tokens are many enough for the products' full speed and few
// enough for seconds.
std::int64_t measured_sequences(const Recipe& recipe) {
  constexpr std::int64_t kTokens = 1024;
  return std::clamp<std::int64_t>(kTokens / recipe.sequence_length, 1, recipe.batch_size);
}

// Where activations start: any values of the size that norms make.
at::Tensor drawn_hidden(const Recipe& recipe, const model::Decoder& decoder) {
  return at::randn({measured_sequences(recipe), recipe.sequence_length, decoder.config().hidden_size});
}

// The linear's plan with the quickest start, from min-max ranges; nothing: it stays float.
std::optional<start::LinearPlan> with_quick_start(const Recipe& recipe, const std::string& linear) {
  auto own = plan_of(recipe)(linear);
  if (!own) return std::nullopt;
  own->init = "range";
  own->options.range = {};
  return own;
}

// How weights start decides no time of a step.
void prepare_block(const Recipe& recipe, model::DecoderLayer& block, const formats::WeightSource& source) {
  const methods::Method& method = method_of(recipe);
  for (nn::Linear* linear : block.linears()) {
    const auto own = with_quick_start(recipe, linear->name());
    if (!own) continue;
    const at::Tensor weight = model::read_tensor(source, linear->name() + ".weight");
    linear->set_weight(start::start_linear(method, *own, linear->name(), weight));
  }
}

void observe_block(const model::Decoder& decoder, const at::Tensor& hidden) {
  if (decoder.activations().range == quant::ActivationRange::dynamic) return;
  observe_during(decoder.layer(0).activation_quantizers(), decoder.activations().learn_range,
                 [&] { decoder.layer_forward(0, hidden); });
}

double time_forward(const model::Decoder& decoder, const at::Tensor& hidden) {
  const at::NoGradGuard no_grad;
  return quickest([&] { decoder.layer_forward(0, hidden); });
}

// Of all blocks that are recomputed, one micro-batch.
double time_recompute(const model::Decoder& decoder, const at::Tensor& hidden, const KeptActivations& kept) {
  const std::int64_t whole = decoder.num_layers() - kept.blocks - kept.products;
  double seconds = whole > 0 ? static_cast<double>(whole) * time_forward(decoder, hidden) : 0.0;
  if (kept.products == 0) return seconds;
  const at::NoGradGuard no_grad;
  at::Tensor product;
  decoder.layer_forward(0, hidden, 0, nullptr, &product);  // leaves it there, as every later run does
  seconds += static_cast<double>(kept.products) *
             quickest([&] { decoder.layer_forward(0, hidden, 0, nullptr, &product); });
  return seconds;
}

double time_forward_backward(const model::Decoder& decoder, const at::Tensor& hidden) {
  const at::Tensor in = hidden.detach().clone().requires_grad_();
  const at::Tensor gradient = at::randn_like(hidden);
  return quickest([&] { torch::autograd::backward({decoder.layer_forward(0, in)}, {gradient}); });
}

// What a cache would keep of these hidden states of the teacher.
nn::TeacherLogits kept_logits(const Recipe& recipe, const model::Decoder& teacher, const at::Tensor& hidden) {
  const at::NoGradGuard no_grad;
  const std::int64_t vocabulary = teacher.config().vocab_size;
  return nn::keep_logits(
      hidden.reshape({-1, hidden.size(2)}), teacher.lm_head(), teacher.config().final_logit_softcapping,
      recipe.teacher_top_k == 0 ? vocabulary : recipe.teacher_top_k, recipe.distill_temperature);
}

std::optional<nn::Distillation> distillation_of(const Recipe& recipe, const model::Decoder& teacher,
                                                const at::Tensor& of_teacher) {
  if (!(recipe.distill_weight > 0.0)) return std::nullopt;
  nn::Distillation distillation{.weight = *recipe.distill_weight, .temperature = recipe.distill_temperature};
  if (uses_teacher_cache(recipe)) {
    distillation.known = [all = kept_logits(recipe, teacher, of_teacher)](std::int64_t begin,
                                                                          std::int64_t end) {
      const auto part = [&](const at::Tensor& x) { return x.defined() ? x.slice(0, begin, end).clone() : x; };
      return nn::TeacherLogits{part(all.ids), part(all.values), part(all.rest)};
    };
  } else {
    distillation.hidden = of_teacher.reshape({-1, of_teacher.size(2)});
    distillation.head = &teacher.lm_head();
  }
  return distillation;
}

// Loss of these hidden states, its gradient included.
double time_head(const Recipe& recipe, const model::Decoder& decoder, const at::Tensor& hidden,
                 const model::Decoder& teacher, const at::Tensor& of_teacher) {
  const at::Tensor rows = hidden.reshape({-1, hidden.size(2)});
  const at::Tensor in = rows.detach().clone().requires_grad_();
  const at::Tensor targets = at::randint(0, decoder.config().vocab_size, {rows.size(0)}, at::kLong);
  const auto distillation = distillation_of(recipe, teacher, of_teacher);
  return quickest([&] {
    torch::autograd::backward({nn::linear_cross_entropy(
        in, decoder.lm_head(), targets, {.divisor = 1.0, .softcap = decoder.config().final_logit_softcapping},
        distillation)});
  });
}

// A step on the first block's parameters, which have gradients.
double time_optimizer(const model::Decoder& decoder) {
  std::vector<nn::TrainedParameter> parameters;
  for (const quant::Parameter& parameter : decoder.layer(0).parameters()) {
    if (parameter.value.grad().defined()) parameters.push_back({parameter.name, parameter.value, /*lr=*/0.0});
  }
  if (parameters.empty()) return 0;
  nn::AdamW optimizer(std::move(parameters), {});
  return quickest([&] {
    optimizer.clip_grad_norm(1.0);
    optimizer.step(1.0);
  });
}

double block_weights(const model::DecoderLayer& block) {
  double weights = 0;
  for (const nn::Linear* linear : block.linears()) {
    weights += static_cast<double>(linear->out_features() * linear->in_features());
  }
  return weights;
}

}  // namespace

StepEstimate measure_step(const Recipe& recipe, model::Decoder& decoder, const formats::WeightSource& source,
                          const KeptActivations& kept, const model::Decoder& teacher) {
  const auto blocks = static_cast<double>(decoder.num_layers());
  const at::Tensor hidden = drawn_hidden(recipe, decoder);
  const double micro_batches = static_cast<double>(recipe.batch_size * recipe.gradient_accumulation) /
                               static_cast<double>(measured_sequences(recipe));
  StepEstimate out;
  decoder.set_activations({});  // it may be the teacher too
  const at::Tensor of_teacher = drawn_hidden(recipe, teacher);
  if (recipe.distill_weight > 0) {
    const double forward = static_cast<double>(teacher.num_layers()) * time_forward(teacher, of_teacher);
    if (uses_teacher_cache(recipe)) {
      const double logits = quickest([&] { kept_logits(recipe, teacher, of_teacher); });
      out.cached_sequence = (forward + logits) / static_cast<double>(measured_sequences(recipe));
    } else {
      out.teacher = micro_batches * forward;
    }
  }
  out.head = micro_batches * time_head(recipe, decoder, hidden, teacher, of_teacher);
  decoder.set_activations(recipe.activations);
  prepare_block(recipe, decoder.layer(0), source);
  observe_block(decoder, hidden);
  out.recompute = micro_batches * time_recompute(decoder, hidden, kept);
  const double block = time_forward_backward(decoder, hidden);
  out.forward_backward = micro_batches * blocks * block;
  out.optimizer = blocks * time_optimizer(decoder);
  const auto tokens = static_cast<double>(hidden.size(0) * hidden.size(1));
  out.product_speed = 2.0 * 2.0 * tokens * block_weights(decoder.layer(0)) / block;  // y and dx
  return out;
}

double measure_prepare(const Recipe& recipe, model::Decoder& decoder, const formats::WeightSource& source,
                       const PackedDataset* text) {
  if (starts_from_text(recipe)) return measure_text_start(recipe, decoder, source, text);
  constexpr std::int64_t kRows = 256;
  const methods::Method& method = method_of(recipe);
  double seconds = 0;
  for (const nn::Linear* linear : decoder.layer(0).linears()) {
    const std::int64_t rows = std::min(kRows, linear->out_features());
    // Stored scales are no search either.
    const bool stored = starts_from_stored(method, recipe, *linear);
    const auto own = stored ? with_quick_start(recipe, linear->name()) : plan_of(recipe)(linear->name());
    if (!own) continue;
    const auto begin = std::chrono::steady_clock::now();
    start::start_linear(method, *own, linear->name(),
                        model::read_rows(source, linear->name() + ".weight", 0, rows));
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin;
    seconds += elapsed.count() * static_cast<double>(linear->out_features()) / static_cast<double>(rows);
  }
  return seconds * static_cast<double>(decoder.num_layers());
}

}  // namespace lrqat::train
