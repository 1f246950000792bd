#include "lrqat/train/start_estimate.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <functional>
#include <utility>
#include <vector>

#include "lrqat/base/clock.h"
#include "lrqat/start/hidden_states.h"
#include "lrqat/start/inits.h"
#include "lrqat/start/prepare.h"
#include "lrqat/train/layer_recipe.h"
#include "lrqat/train/prepare_student.h"

namespace lrqat::train {
namespace {

double seconds_of(const std::function<void()>& work) {
  const double begin = seconds_now();
  work();
  return seconds_now() - begin;
}

// The block's weights as they are now are there again when this object ends.
class RestoredBlock {
 public:
  explicit RestoredBlock(model::Decoder& decoder) : decoder_(decoder), activations_(decoder.activations()) {
    decoder.set_activations({});  // they are quantized from training on
    for (const nn::Linear* linear : decoder.layer(0).linears()) weights_.push_back(linear->weight());
    for (const auto& [name, norm] : decoder.layer(0).norms())
      norms_.emplace_back("model.layers.0." + name, decoder.float_tensor("model.layers.0." + name));
  }
  ~RestoredBlock() {
    decoder_.set_activations(activations_);
    const auto linears = decoder_.layer(0).linears();
    for (std::size_t i = 0; i < linears.size(); ++i) linears[i]->set_weight(weights_[i]);
    for (const auto& [name, values] : norms_) {
      if (decoder_.replaced().contains(name)) decoder_.replace(name, values);
    }
  }
  RestoredBlock(const RestoredBlock&) = delete;
  RestoredBlock& operator=(const RestoredBlock&) = delete;

 private:
  model::Decoder& decoder_;
  quant::ActivationOptions activations_;
  std::vector<std::shared_ptr<quant::WeightParametrization>> weights_;
  std::vector<std::pair<std::string, at::Tensor>> norms_;
};

// Of one block.
struct Seconds {
  double prepare = 0,
         forward = 0;  // forward: of a batch of the prepared block, 0 where preparing includes it
};

class StartMeasurement {
 public:
  StartMeasurement(const Recipe& recipe, model::Decoder& decoder, const formats::WeightSource& source,
                   std::int64_t rows)
      : plan_(start_plan(recipe)),
        decoder_(decoder),
        source_(source),
        hidden_(at::randn({rows, recipe.sequence_length, decoder.config().hidden_size})) {}

  double float_forward() const {
    return seconds_of([&] { decoder_.layer_forward(0, hidden_); });
  }

  Seconds prepare(std::size_t batches, std::int64_t steps) const {
    const RestoredBlock restored(decoder_);
    start::Plan plan = plan_;
    plan.text.block_steps = steps;
    const std::vector<std::int64_t> sequences(batches, hidden_.size(0));
    start::HiddenStates student(sequences, {}, "student", at::kCPU), target(sequences, {}, "float", at::kCPU);
    for (start::HiddenStates* states : {&student, &target})
      states->fill([&](std::size_t) { return hidden_; });
    start::Block block(decoder_, 0, student, &target);
    Seconds seconds;
    seconds.prepare = seconds_of([&] { start::prepare_block(plan, decoder_, source_, block); });
    if (!block.has_moved()) seconds.forward = float_forward();
    return seconds;
  }

 private:
  start::Plan plan_;
  model::Decoder& decoder_;
  const formats::WeightSource& source_;
  at::Tensor hidden_;
};

}  // namespace

double measure_text_start(const Recipe& recipe, model::Decoder& decoder, const formats::WeightSource& source,
                          const PackedDataset* text) {
  constexpr double kLong = 5.0, kEnough = 1.0;  // seconds: what is run once, and what steps are measured for
  const at::NoGradGuard no_grad;
  const auto inits = used_inits(recipe);
  const bool has_steps = std::any_of(inits.begin(), inits.end(), start::starts_blocks);
  const bool sees_text = std::any_of(inits.begin(), inits.end(), [](const std::string& init) {
    return start::needs_text(init) && !start::starts_blocks(init);
  });
  const std::int64_t sequences = calibration_sequences(recipe, text);
  const std::int64_t rows = std::min(sequences, calibration_rows(recipe, text));
  const double batches = static_cast<double>(sequences) / static_cast<double>(rows);
  const StartMeasurement measure(recipe, decoder, source, rows);
  const auto quickest = [&](std::size_t count, std::int64_t steps) {
    Seconds first = measure.prepare(count, steps);
    if (first.prepare > kLong) return first;
    const Seconds second = measure.prepare(count, steps);
    return Seconds{std::min(first.prepare, second.prepare), std::min(first.forward, second.forward)};
  };
  const Seconds once = quickest(1, 1);
  double block = once.prepare + batches * once.forward;
  if (sees_text) block += (batches - 1) * std::max(quickest(2, 1).prepare - once.prepare, 0.0);
  if (has_steps) {
    const auto more = std::clamp<std::int64_t>(static_cast<std::int64_t>(kEnough / once.prepare), 2, 32);
    const double step = (quickest(1, 1 + more).prepare - once.prepare) / static_cast<double>(more);
    const double of_float = std::min(measure.float_forward(), measure.float_forward());
    block += static_cast<double>(recipe.block_steps - 1) * std::max(step, 0.0) + batches * of_float;
  }
  return block * static_cast<double>(decoder.num_layers());
}

}  // namespace lrqat::train
