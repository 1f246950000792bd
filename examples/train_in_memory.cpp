// Trains a tiny model in memory with LR-QAT, without a run's folder: made of random numbers, rounded to 3
// bits, and trained to give what the float model gives. Prints how far it is from that before and after, and
// what the first linear is at the end.
#include <ATen/ATen.h>

#include <iostream>
#include <map>

#include "lrqat/model/build.h"
#include "lrqat/model/integer_source.h"
#include "lrqat/model/load.h"
#include "lrqat/train/fit_to_model.h"
#include "lrqat/train/trainer.h"

namespace {

constexpr std::int64_t kLength = 32;  // tokens of a sequence

lrqat::formats::ModelConfig tiny_config() {
  lrqat::formats::ModelConfig config;
  config.hidden_size = 64;
  config.intermediate_size = 128;
  config.num_hidden_layers = 2;
  config.num_attention_heads = config.num_key_value_heads = 4;
  config.head_dim = 16;
  config.vocab_size = 100;
  config.max_position_embeddings = 64;
  return config;
}

// A program that has a model in files calls model::open_source(path) instead.
lrqat::model::SharedSource random_model() {
  const lrqat::formats::ModelConfig config = tiny_config();
  std::map<std::string, at::Tensor> tensors;
  for (const auto& [name, shape] : lrqat::formats::expected_tensors(config))
    tensors[name] = shape.size() == 1 ? at::ones(shape) : at::randn(shape) * 0.1;
  const auto provider =
      lrqat::model::float_weights([&](const std::string& name) { return tensors.at(name); });
  return lrqat::model::source_of(
      "random", lrqat::model::build_decoder(config, provider, lrqat::ops::ComputeType::float32));
}

lrqat::train::PackedDataset random_text(std::int64_t sequences) {
  const at::Tensor tokens = at::randint(0, 100, {sequences * kLength}, at::kInt);
  const auto* first = tokens.const_data_ptr<std::int32_t>();
  return {{first, first + tokens.numel()}, kLength};
}

lrqat::train::Recipe recipe_for(const lrqat::model::Decoder& model, lrqat::ProgressReporter& progress) {
  lrqat::train::Recipe recipe;
  recipe.bits = 3;
  recipe.granularity = lrqat::quant::Granularity::parse("group:32");
  recipe.init = "range";  // from rounding to nearest
  recipe.rank = 8;
  recipe.steps = 30;
  recipe.batch_size = 4;
  recipe.sequence_length = kLength;
  recipe.lr = 1e-2;
  recipe.distill_weight = 1.0;  // the loss is KL(teacher ‖ student)
  return fit_to_model(recipe, model, progress);
}

}  // namespace

int main() {
  at::manual_seed(0);
  lrqat::SilentProgress progress;
  const lrqat::model::SharedSource source = random_model();
  const auto student = lrqat::model::load_float_model(source);
  const auto teacher = lrqat::model::load_float_model(source);
  const lrqat::train::DataSplit text{random_text(64), random_text(8), std::nullopt};
  const lrqat::train::Recipe recipe = recipe_for(*student, progress);

  lrqat::train::SingleProcess alone;
  lrqat::train::Trainer trainer(recipe, *student, teacher.get(), text, alone);
  trainer.prepare(*source, progress);
  trainer.start();
  std::cout << "KL on held-out text before training: " << trainer.evaluate_held_out()->objective << "\n";
  while (trainer.stage() != lrqat::train::Stage::finished) trainer.step();
  std::cout << "KL on held-out text after training: " << trainer.evaluate_held_out()->objective << "\n";

  const lrqat::nn::Linear& linear = *student->linears().front();
  const lrqat::quant::QuantizedWeight result = linear.weight()->convert();
  std::cout << linear.name() << ": " << result.grid.num_bits << " bits, codes from "
            << result.weight_int.min().item<int>() << " to " << result.weight_int.max().item<int>() << ", "
            << result.scale.numel() << " scales\n";
}
