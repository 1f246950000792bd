#include "lrqat/train/activation_ranges.h"

#include <ATen/ATen.h>

#include "lrqat/data/sampler.h"

namespace lrqat::train {

void observe_activations(model::Decoder& decoder, const data::PackedDataset& dataset, const Recipe& recipe,
                         ProgressReporter& progress) {
  const auto quantizers = decoder.activation_quantizers();
  const at::NoGradGuard no_grad;
  data::Sampler sampler(dataset.size(), recipe.seed);  // the batches that training begins with
  for (const auto& quantizer : quantizers) quantizer->observe(true);
  progress.start("activation ranges", recipe.activation_batches);
  for (std::int64_t i = 0; i < recipe.activation_batches; ++i) {
    decoder.forward(dataset.batch(sampler.next(recipe.batch_size)).to(decoder.device()));
    progress.update(i + 1, "");
  }
  progress.finish();
  for (const auto& quantizer : quantizers) {
    quantizer->observe(false);
    if (recipe.activations.learn_range) quantizer->learn();
  }
}

}  // namespace lrqat::train
