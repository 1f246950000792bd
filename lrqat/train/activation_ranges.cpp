#include "lrqat/train/activation_ranges.h"

#include <ATen/ATen.h>

#include "lrqat/train/sampler.h"

namespace lrqat::train {

void observe_during(const std::vector<std::shared_ptr<quant::ActivationQuantizer>>& quantizers, bool learn,
                    const std::function<void()>& work) {
  const at::NoGradGuard no_grad;
  for (const auto& quantizer : quantizers) quantizer->observe(true);
  work();
  for (const auto& quantizer : quantizers) {
    quantizer->observe(false);
    if (learn) quantizer->learn();
  }
}

void observe_activations(model::Decoder& decoder, const PackedDataset& dataset, const Recipe& recipe,
                         ProgressReporter& progress) {
  Sampler sampler(dataset.size(), recipe.seed);  // the batches that training begins with
  progress.start("activation ranges", recipe.activation_batches);
  observe_during(decoder.activation_quantizers(), recipe.activations.learn_range, [&] {
    for (std::int64_t i = 0; i < recipe.activation_batches; ++i) {
      decoder.forward(dataset.batch(sampler.next(recipe.batch_size)).to(decoder.device()));
      progress.update(i + 1, "");
    }
  });
  progress.finish();
}

}  // namespace lrqat::train
