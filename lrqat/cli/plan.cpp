// lrqat plan: what a recipe will need, from the model's config and a short measurement: one block, the head
// and the optimiser run as in training (train/step_estimate.h). Memory is an upper estimate, time as near as
// the machine is steady.
#include <ATen/ATen.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <iomanip>
#include <iostream>
#include <memory>

#include "lrqat/base/error.h"
#include "lrqat/base/memory.h"
#include "lrqat/cli/cli.h"
#include "lrqat/cli/recipe_flags.h"
#include "lrqat/cli/text_output.h"
#include "lrqat/formats/weight_source.h"
#include "lrqat/model/load.h"
#include "lrqat/train/layer_recipe.h"
#include "lrqat/train/methods.h"
#include "lrqat/train/open_inputs.h"
#include "lrqat/train/prepare_student.h"
#include "lrqat/train/step_estimate.h"
#include "lrqat/train/train_step.h"

namespace lrqat::cli {
namespace {

struct Shapes {
  double weights = 0;                          // of the linears
  double frozen = 0;                           // bytes that training never changes (Φ0, W0, integers)
  double trained_weights = 0;                  // elements of linears that are trained themselves
  double adapters = 0;                         // elements
  double scales = 0;                           // elements
  double floats = 0;                           // elements of norms, head and embedding that are trained
  double second_gradient = 0;                  // elements of a trained table that is both head and embedding
  double largest = 0;                          // elements of the largest linear
  double head = 0;                             // elements
  double head_stored = 0, linears_stored = 0;  // bytes in the model's file: embedding and head; linears
};

Shapes shapes_of(model::Decoder& decoder, const formats::WeightSource& source, const train::Recipe& recipe) {
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
    own->grid_granularity().check(linear->name(), linear->in_features());
    const auto scale = own->grid_granularity().scale_shape(linear->out_features(), linear->in_features());
    if (method.frozen_bytes)
      out.frozen += method.frozen_bytes(train::layer_options(*own, linear->name())) * n * k;
    if (method.trains_weight) out.trained_weights += n * k;
    if (method.has_adapters) out.adapters += static_cast<double>(own->rank) * (n + k);
    out.scales += static_cast<double>(scale[0] * scale[1]);
    out.largest = std::max(out.largest, n * k);
    out.linears_stored += stored(linear->name());
  }
  out.head = static_cast<double>(decoder.config().vocab_size * decoder.config().hidden_size);
  for (const std::string& name : train::trained_floats(recipe, decoder)) {
    const bool table = name == "model.embed_tokens.weight" || name == "lm_head.weight";
    if (table && decoder.config().tie_word_embeddings) out.second_gradient = out.head;
    out.floats += table ? out.head : static_cast<double>(decoder.float_tensor(name).numel());
  }
  out.head_stored = stored("model.embed_tokens") + stored("lm_head");
  return out;
}

// Bytes in the teacher's file. Of the model's own, embedding and head are counted already.
double teacher_bytes(const train::Recipe& recipe, const Shapes& shapes,
                     const formats::WeightSource& teacher) {
  if (recipe.distill_weight == 0.0) return 0.0;
  if (recipe.teacher.empty()) return shapes.linears_stored;
  double bytes = 0;
  for (const std::string& name : teacher.names()) bytes += static_cast<double>(teacher.raw(name).data.size());
  return bytes;
}

Json memory_parts(const train::Recipe& recipe, const Shapes& shapes, const model::Decoder& decoder,
                  const train::KeptActivations& kept, const formats::WeightSource& teacher) {
  const bool trains = train::find_method(recipe.method).trains;
  const double trainables = trains ? shapes.adapters + shapes.trained_weights + shapes.floats +
                                         (recipe.learn_scale ? shapes.scales : 0.0)
                                   : 0.0;
  const auto bytes = [](double value) { return static_cast<std::int64_t>(value); };
  constexpr double kLossChunks = 2 * 32.0 * (1 << 20);  // logits of student and teacher (nn::LossOptions)
  constexpr double kProgram = 300e6;                    // LibTorch itself and its threads
  Json parts{{"phi_0", bytes(shapes.frozen)},
             {"weights", bytes(4 * shapes.trained_weights)},
             {"adapters", bytes(4 * shapes.adapters)},
             {"scales", bytes(4 * shapes.scales)},
             {"norms_head_embedding", bytes(4 * shapes.floats)},
             {"gradients", bytes(4 * trainables)},
             {"optimizer", bytes(8 * trainables)},
             {"activations", bytes(trains ? train::activation_bytes(recipe, decoder, kept) : 0.0)},
             {"teacher", bytes(teacher_bytes(recipe, shapes, teacher))},
             {"transient", bytes(std::max(kLossChunks, 4 * shapes.largest) + 4 * shapes.second_gradient)}};
  // Calibration is over before there are gradients: what it takes above training counts.
  std::int64_t training = 0;
  for (const char* part : {"gradients", "optimizer", "activations", "teacher", "transient"})
    training += parts[part].get<std::int64_t>();
  parts["calibration"] = std::max<std::int64_t>(train::calibration_bytes(recipe, decoder) - training, 0);
  parts["embedding_and_head"] = bytes(shapes.head_stored);  // pages of the file, as the teacher's
  parts["program"] = bytes(kProgram);
  return parts;
}

// Bytes a token that keys and values take where they are stored as what they are: codes with scale and zero
// point in 16 bits each for a token, or 16-bit floats.
double cache_bytes_per_token(const formats::ModelConfig& config,
                             const quant::ActivationOptions& activations) {
  const auto width = static_cast<double>(config.num_key_value_heads * config.head_dim);
  const double grid = activations.kv_bits < quant::kFloatBits ? 4.0 : 0.0;
  return 2.0 * static_cast<double>(config.num_hidden_layers) * (width * activations.kv_bits / 8.0 + grid);
}

Json to_json(const train::StepEstimate& step) {
  return {{"forward_backward", step.forward_backward},
          {"recompute", step.recompute},
          {"teacher", step.teacher},
          {"head", step.head},
          {"optimizer", step.optimizer}};
}

void print_text(const Json& json, const train::Recipe& recipe) {
  const auto line = [](const std::string& label, const auto&... values) {
    std::cout << std::left << std::setw(24) << label;
    (std::cout << ... << values) << "\n";
  };
  for (const auto& [name, bytes] : json["parts"].items())
    line(name, bytes.get<std::int64_t>() / (1 << 20), " MiB");
  line("peak memory", json["peak_memory_bytes"].get<std::int64_t>() / (1 << 20), " MiB (estimated)");
  line("setting", json["setting"].get<std::string>());
  line("granularity", json["granularity"].get<std::string>());
  line("KV cache", rounded(json["kv_cache_bytes_per_token"], 0), " bytes a token at inference");
  if (json["prepare_seconds"].is_null()) {
    line("preparing", "not estimated: it starts from calibration text");
  } else {
    line("preparing", rounded(json["prepare_seconds"], 1), " s (estimated)");
  }
  if (!train::find_method(recipe.method).trains)
    return line("training", "none: --method ", recipe.method, " only rounds");
  line("a step", rounded(json["seconds_per_step"], 2), " s, ", rounded(json["tokens_per_second"], 0),
       " tokens/s (estimated)");
  line("all steps", rounded(json["seconds"].get<double>() / 60, 1), " min");
}

void add_time(Json& json, const train::Recipe& recipe, model::Decoder& decoder,
              const formats::WeightSource& source, const train::KeptActivations& kept,
              const model::SharedSource& teacher) {
  const auto prepare = train::measure_prepare(recipe, decoder, source);
  json["prepare_seconds"] = prepare ? Json(*prepare) : Json();
  if (!train::find_method(recipe.method).trains) {
    json["seconds_per_step"] = json["tokens_per_second"] = json["seconds"] = 0.0;
    return;
  }
  const auto of_teacher = model::load_float_model(teacher, {recipe.compute(), at::kCPU});
  const train::StepEstimate step = train::measure_step(recipe, decoder, source, kept, *of_teacher);
  const auto tokens =
      static_cast<double>(recipe.batch_size * recipe.sequence_length * recipe.gradient_accumulation);
  json["measured_gflops"] = step.product_speed / 1e9;
  json["step_parts"] = to_json(step);
  json["seconds_per_step"] = step.seconds();
  json["seconds"] = step.seconds() * static_cast<double>(recipe.steps);
  json["tokens_per_second"] = tokens / step.seconds();
}

void run_plan(const RecipeFlags& flags, Context& context) {
  const train::Recipe given = resolve_recipe(flags, context.options);
  train::validate(given, /*needs_data=*/false);
  const train::TrainInputs inputs = train::open_inputs(given, /*decided=*/false, context.progress);
  const train::Recipe& recipe = inputs.recipe;
  const model::SharedSource& source = inputs.source;
  model::Decoder* const decoder = inputs.decoder.get();
  const Shapes shapes = shapes_of(*decoder, *source, recipe);
  decoder->set_activations(recipe.activations);  // what a block keeps depends on them
  const train::KeptActivations kept = train::kept_activations(recipe, *decoder);
  const Json parts = memory_parts(recipe, shapes, *decoder, kept, *inputs.teacher);
  std::int64_t total = 0;
  for (const auto& [name, bytes] : parts.items()) total += bytes.get<std::int64_t>();
  Json json{{"parts", parts},
            {"peak_memory_bytes", total},
            {"kept_blocks", kept.blocks},
            {"kept_products", kept.products},
            {"granularity", recipe.grid_granularity().name()},
            {"setting", concat("W", recipe.bits, quant::activation_setting_name(recipe.activations))},
            {"kv_cache_bytes_per_token", cache_bytes_per_token(decoder->config(), recipe.activations)}};
  add_time(json, recipe, *decoder, *source, kept, inputs.teacher);
  if (context.options.json) return context.print_json(json);
  print_text(json, recipe);
}

}  // namespace

Action declare_plan(CLI::App& command) {
  auto flags = std::make_shared<RecipeFlags>();
  add_recipe_flags(command, *flags);
  return [flags](Context& context) { run_plan(*flags, context); };
}

}  // namespace lrqat::cli
