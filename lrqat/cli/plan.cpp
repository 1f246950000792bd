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
#include "lrqat/model/load.h"
#include "lrqat/train/bit_table.h"
#include "lrqat/train/cached_teacher.h"
#include "lrqat/train/memory_estimate.h"
#include "lrqat/train/methods.h"
#include "lrqat/train/open_inputs.h"
#include "lrqat/train/step_estimate.h"
#include "lrqat/train/train_step.h"

namespace lrqat::cli {
namespace {

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
  for (const auto& row : json["linears"]["rows"]) {
    line(concat(row["bits"].get<int>(), " bits, ", row["granularity"].get<std::string>()),
         row["linears"].get<std::int64_t>(), " linears, ", rounded(100 * row["share"].get<double>(), 1),
         " % of the weights");
  }
  if (!json["linears"]["rows"].empty()) {
    line("linears", rounded(json["linears"]["bits_per_weight"], 4), " bits a weight, ",
         json["linears"]["bytes"].get<std::int64_t>() / (1 << 20), " MiB in the file for ", recipe.target,
         ", scales included; embedding, head and norms apart");
  }
  line("KV cache", rounded(json["kv_cache_bytes_per_token"], 0), " bytes a token at inference");
  line("preparing", rounded(json["prepare_seconds"], 1), " s (estimated)");
  if (!train::method_of(recipe).trains)
    return line("training", "none: --method ", recipe.method, " only rounds");
  line("a step", rounded(json["seconds_per_step"], 2), " s, ", rounded(json["tokens_per_second"], 0),
       " tokens/s (estimated)");
  line("all steps", rounded(json["seconds"].get<double>() / 60, 1), " min");
  if (const Json& cache = json["teacher_cache"]; !cache.is_null()) {
    line("teacher cache", cache["sequences"], " sequences, ", cache["bytes"].get<std::int64_t>() / (1 << 20),
         " MiB of disk, ", rounded(cache["seconds"].get<double>() / 60, 1), " min once (estimated)");
  }
}

// Of a cache that holds nothing yet. Without the text, sequences are taken to be seen once each.
Json cache_estimate(const train::TrainInputs& inputs, const train::StepEstimate& step) {
  const train::Recipe& recipe = inputs.recipe;
  if (!train::uses_teacher_cache(recipe)) return nullptr;
  const std::int64_t sequences = inputs.text
                                     ? train::needed_sequences(recipe, *inputs.text).size()
                                     : recipe.steps * recipe.gradient_accumulation * recipe.batch_size;
  return {{"sequences", sequences},
          {"bytes", sequences * train::cached_bytes_per_sequence(recipe, inputs.teacher->config())},
          {"seconds", static_cast<double>(sequences) * step.cached_sequence}};
}

// What the linears will take in the file that the recipe is for.
Json size_of_linears(const train::Recipe& recipe, const model::Decoder& decoder) {
  const train::BitTable table =
      train::method_of(recipe).has_grid
          ? train::bit_table(train::find_target(recipe.target), train::layers_of(recipe, decoder))
          : train::BitTable{};
  Json rows = Json::array();
  for (const train::BitRow& row : table.rows) {
    rows.push_back({{"bits", row.bits},
                    {"granularity", row.granularity.name()},
                    {"linears", row.linears},
                    {"weights", row.weights},
                    {"share", static_cast<double>(row.weights) / static_cast<double>(table.weights())},
                    {"bytes", row.stored_bits / 8}});
  }
  return {{"bits_per_weight", table.bits_per_weight()}, {"bytes", table.stored_bits() / 8}, {"rows", rows}};
}

// "4", or "3.47" on average where linears have different widths.
std::string width_name(const train::Recipe& recipe, const Json& linears) {
  const Json& rows = linears["rows"];
  const bool mixed = std::any_of(rows.begin(), rows.end(),
                                 [&](const Json& row) { return row["bits"] != rows.front()["bits"]; });
  if (!mixed) return std::to_string(rows.empty() ? recipe.bits : rows.front()["bits"].get<int>());
  return rounded(linears["bits_per_weight"], 2);
}

void add_time(Json& json, const train::TrainInputs& inputs, const train::KeptActivations& kept) {
  const train::Recipe& recipe = inputs.recipe;
  model::Decoder& decoder = *inputs.decoder;
  json["prepare_seconds"] =
      train::measure_prepare(recipe, decoder, *inputs.source, inputs.text ? &inputs.text->training : nullptr);
  json["teacher_cache"] = nullptr;
  if (!train::method_of(recipe).trains) {
    json["seconds_per_step"] = json["tokens_per_second"] = json["seconds"] = 0.0;
    return;
  }
  const auto of_teacher = model::load_float_model(inputs.teacher, {recipe.compute(), at::kCPU});
  const train::StepEstimate step = train::measure_step(recipe, decoder, *inputs.source, kept, *of_teacher);
  const auto tokens =
      static_cast<double>(recipe.batch_size * recipe.sequence_length * recipe.gradient_accumulation);
  json["measured_gflops"] = step.product_speed / 1e9;
  json["step_parts"] = to_json(step);
  json["seconds_per_step"] = step.seconds();
  json["seconds"] = step.seconds() * static_cast<double>(recipe.steps);
  json["tokens_per_second"] = tokens / step.seconds();
  json["teacher_cache"] = cache_estimate(inputs, step);
}

void run_plan(const RecipeFlags& flags, Context& context) {
  const train::Recipe given = resolve_recipe(flags, context.options);
  train::validate(given, /*needs_data=*/false);
  const train::TrainInputs inputs = train::open_inputs(given, /*decided=*/false, context.progress);
  const train::Recipe& recipe = inputs.recipe;
  model::Decoder* const decoder = inputs.decoder.get();
  decoder->set_activations(recipe.activations);  // what a block keeps depends on them
  const train::KeptActivations kept = train::kept_activations(recipe, *decoder);
  const Json parts = train::memory_parts(inputs, kept);
  std::int64_t total = 0;
  for (const auto& [name, bytes] : parts.items()) total += bytes.get<std::int64_t>();
  const Json linears = size_of_linears(recipe, *decoder);
  Json json{
      {"parts", parts},
      {"peak_memory_bytes", total},
      {"kept_blocks", kept.blocks},
      {"kept_products", kept.products},
      {"granularity", recipe.grid_granularity().name()},
      {"setting",
       concat("W", width_name(recipe, linears), quant::activation_setting_name(recipe.activations))},
      {"linears", linears},
      {"kv_cache_bytes_per_token", train::cache_bytes_per_token(decoder->config(), recipe.activations)}};
  add_time(json, inputs, kept);
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
