// lrqat plan: what a recipe will need, from the model's config and a short measurement of this machine's
// matrix products. Estimates: memory within some ten percent, time as good as the measured speed (attention
// and elementwise work are put in as a share).
#include <ATen/ATen.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <iostream>
#include <memory>

#include "lrqat/base/error.h"
#include "lrqat/base/memory.h"
#include "lrqat/cli/cli.h"
#include "lrqat/cli/recipe_flags.h"
#include "lrqat/formats/weight_source.h"
#include "lrqat/model/integer_source.h"
#include "lrqat/model/load.h"
#include "lrqat/train/layer_recipe.h"
#include "lrqat/train/methods.h"
#include "lrqat/train/train_step.h"

namespace lrqat::cli {
namespace {

struct Shapes {
  double weights = 0;                          // of the linears
  double frozen = 0;                           // bytes that training never changes (Φ0, W0, integers)
  double trained_weights = 0;                  // elements of linears that are trained themselves
  double adapters = 0;                         // elements
  double scales = 0;                           // elements
  double largest = 0;                          // elements of the largest linear
  double head = 0;                             // elements
  double head_stored = 0, linears_stored = 0;  // bytes in the model's file: embedding and head; linears
  std::int64_t num_layers = 0;
};

Shapes shapes_of(const model::Decoder& decoder, const formats::WeightSource& source,
                 const train::Recipe& recipe) {
  Shapes out;
  const auto stored = [&](const std::string& module) {
    const std::string tensor = module + ".weight";
    return source.has(tensor) ? static_cast<double>(source.raw(tensor).data.size()) : 0.0;  // a tied head
  };
  const train::Method& method = train::find_method(recipe.method);
  for (const nn::Linear* linear : decoder.linears()) {
    const auto n = static_cast<double>(linear->out_features()),
               k = static_cast<double>(linear->in_features());
    out.weights += n * k;
    const auto own = train::layer_recipe(recipe, linear->name());
    if (!own) continue;  // stays float, in the file's pages
    own->granularity.check(linear->name(), linear->in_features());
    const auto scale = own->granularity.scale_shape(linear->out_features(), linear->in_features());
    if (method.frozen_bytes != nullptr) out.frozen += method.frozen_bytes(*own) * n * k;
    if (method.trains_weight) out.trained_weights += n * k;
    if (method.has_adapters) out.adapters += static_cast<double>(own->rank) * (n + k);
    out.scales += static_cast<double>(scale[0] * scale[1]);
    out.largest = std::max(out.largest, n * k);
    out.linears_stored += stored(linear->name());
  }
  out.head = static_cast<double>(decoder.config().vocab_size * decoder.config().hidden_size);
  out.head_stored = stored("model.embed_tokens") + stored("lm_head");
  out.num_layers = decoder.num_layers();
  return out;
}

// Floating-point operations a second of a product of the recipe's type, the best of a few.
double measured_speed(quant::ComputeType compute) {
  const auto type = compute == quant::ComputeType::bfloat16 ? at::kBFloat16 : at::kFloat;
  const at::Tensor a = at::randn({1024, 1024}).to(type), b = at::randn({1024, 1024}).to(type);
  double best = 0;
  for (int i = 0; i < 5; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    const at::Tensor c = at::mm(a, b.t());
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin;
    best = std::max(best, 2.0 * 1024 * 1024 * 1024 / elapsed.count());
  }
  return best;
}

Json memory_parts(const train::Recipe& recipe, const Shapes& shapes, const model::Decoder& decoder,
                  std::int64_t kept_blocks) {
  const auto micro_batch = static_cast<double>(recipe.batch_size * recipe.sequence_length);
  const double trainables =
      shapes.adapters + shapes.trained_weights + (recipe.learn_scale ? shapes.scales : 0.0);
  const auto bytes = [](double value) { return static_cast<std::int64_t>(value); };
  const double block = static_cast<double>(train::kept_bytes_per_token(decoder)) * micro_batch;
  const double borders =
      4.0 * static_cast<double>(decoder.config().hidden_size * shapes.num_layers) * micro_batch;
  constexpr double kLossChunks = 2 * 32.0 * (1 << 20);  // logits of student and teacher (nn::LossOptions)
  constexpr double kProgram = 300e6;                    // LibTorch itself and its threads
  return {{"phi_0", bytes(shapes.frozen)},
          {"weights", bytes(4 * shapes.trained_weights)},
          {"adapters", bytes(4 * shapes.adapters)},
          {"scales", bytes(4 * shapes.scales)},
          {"gradients", bytes(4 * trainables)},
          {"optimizer", bytes(8 * trainables)},
          {"activations", bytes(block * static_cast<double>(kept_blocks + 1) + borders)},
          {"embedding_and_head", bytes(shapes.head_stored)},  // pages of the file, as the teacher's
          {"teacher", bytes(recipe.distill_weight > 0 ? shapes.linears_stored : 0.0)},
          {"transient", bytes(std::max(kLossChunks, 4 * shapes.largest))},
          {"program", bytes(kProgram)}};
}

// Big products a step: forward, input gradient, recompute of the blocks that are not kept, teacher.
double step_flops(const train::Recipe& recipe, const Shapes& shapes, std::int64_t kept_blocks) {
  const auto tokens =
      static_cast<double>(recipe.batch_size * recipe.sequence_length * recipe.gradient_accumulation);
  const double recomputed = 1.0 - static_cast<double>(kept_blocks) / static_cast<double>(shapes.num_layers);
  const double teacher = recipe.distill_weight > 0 ? 1.0 : 0.0;
  const double low_rank = 4.0 * shapes.adapters;  // dA, dB through the activations
  return 2.0 * tokens *
         ((2.0 + recomputed + teacher) * shapes.weights + low_rank + (2.0 + teacher) * shapes.head);
}

void run_plan(const RecipeFlags& flags, Context& context) {
  const train::Recipe recipe = resolve_recipe(flags, context.options);
  train::validate(recipe, /*needs_data=*/false);
  if (!train::find_method(recipe.method).trains) {
    throw UsageError(concat("--method ", recipe.method, " trains nothing: there is nothing to plan"));
  }
  const model::SharedSource source(model::open_source(recipe.model));
  const auto decoder = model::load_float_model(source, {recipe.compute(), at::kCPU});
  const Shapes shapes = shapes_of(*decoder, *source, recipe);
  const std::int64_t kept = train::kept_activations(recipe, *decoder).blocks;
  const Json parts = memory_parts(recipe, shapes, *decoder, kept);
  std::int64_t total = 0;
  for (const auto& [name, bytes] : parts.items()) total += bytes.get<std::int64_t>();
  // Measured on SmolLM2-135M: attention, norms, loss and tile kernels take about half as long again as the
  // products.
  constexpr double kBesidesProducts = 1.6;
  const double speed = measured_speed(recipe.compute());
  const double seconds = kBesidesProducts * step_flops(recipe, shapes, kept) / speed;
  const auto tokens =
      static_cast<double>(recipe.batch_size * recipe.sequence_length * recipe.gradient_accumulation);
  const Json json{{"parts", parts},
                  {"peak_memory_bytes", total},
                  {"kept_blocks", kept},
                  {"measured_gflops", speed / 1e9},
                  {"seconds_per_step", seconds},
                  {"seconds", seconds * static_cast<double>(recipe.steps)},
                  {"tokens_per_second", tokens / seconds}};
  if (context.options.json) return context.print_json(json);
  for (const auto& [name, bytes] : parts.items()) {
    std::cout << name << std::string(20 - std::min<std::size_t>(19, name.size()), ' ')
              << bytes.get<std::int64_t>() / (1 << 20) << " MiB\n";
  }
  std::cout << "peak memory         " << total / (1 << 20) << " MiB (estimated)\n"
            << "a step              " << seconds << " s, " << tokens / seconds << " tokens/s (estimated)\n"
            << "all steps           " << seconds * static_cast<double>(recipe.steps) / 60 << " min\n";
}

}  // namespace

Action declare_plan(CLI::App& command) {
  auto flags = std::make_shared<RecipeFlags>();
  add_recipe_flags(command, *flags);
  return [flags](Context& context) { run_plan(*flags, context); };
}

}  // namespace lrqat::cli
