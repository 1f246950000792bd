// The start from block-wise optimisation, as SignRound (arXiv 2309.05516) does it: the roundings and ranges
// of all linears of a block are learned together, so that the block, fed with what the quantized blocks
// before it give, comes near what the float model has behind it:
//     L = mean ((block(x̃) - y) / rms y)²      v <- v - lr·sign(dL/dv)      m <- m - lr·sign(dL/dm)
// rms y is that of each token: what follows a block normalises its tokens, and a few of them (the first of a
// text above all) are hundreds of times as large as the others and would decide the sum alone. lr falls
// linearly to zero. A step looks at a few sequences of the calibration text (rounding_weight.h).
#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "lrqat/base/random.h"
#include "lrqat/quant/integer_weight.h"
#include "lrqat/quant/rounding_weight.h"
#include "lrqat/start/rows.h"

namespace lrqat::start {
namespace {

constexpr double kLeastSquare = 1e-12;  // of a token; one of zeros counts little
constexpr double kFewestSteps = 50.0;   // fewer are no larger: they would leave a block worse than rounding

using Weights = std::vector<std::shared_ptr<quant::RoundingWeight>>;

// What a step looks at: sequences [begin, end) of a batch. Batches are larger than steps, because a forward
// pass over many tokens decodes the weights once.
struct StepText {
  std::size_t batch;
  std::int64_t begin, end;
};

std::vector<StepText> step_texts(const Block& block, std::int64_t sequences) {
  std::vector<StepText> texts;
  for (std::size_t batch = 0; batch < block.batches(); ++batch) {
    const std::int64_t all = block.sequences(batch);
    for (std::int64_t begin = 0; begin < all; begin += sequences)
      texts.push_back({batch, begin, std::min(begin + sequences, all)});
  }
  return texts;
}

// Texts in random order, every one once before any comes again.
class StepOrder {
 public:
  StepOrder(std::vector<StepText> texts, Random random) : texts_(std::move(texts)), random_(random) {}
  const StepText& next() {
    if (left_.empty()) {
      for (std::size_t i = 0; i < texts_.size(); ++i) left_.push_back(i);
    }
    const auto at = static_cast<std::size_t>(random_.below(left_.size()));
    std::swap(left_[at], left_.back());
    const std::size_t text = left_.back();
    left_.pop_back();
    return texts_[text];
  }

 private:
  std::vector<StepText> texts_;
  Random random_;
  std::vector<std::size_t> left_;
};

void backward(const Block& block, const StepText& text) {
  const at::AutoGradMode with_gradients(true);
  const auto rows = [&](const at::Tensor& hidden) { return hidden.slice(0, text.begin, text.end); };
  const at::Tensor target = rows(block.target(text.batch));
  const at::Tensor scale = target.square().mean(-1, /*keepdim=*/true).clamp_min(kLeastSquare).rsqrt();
  const at::Tensor difference = (block.forward(rows(block.input(text.batch))) - target) * scale;
  torch::autograd::backward({difference.square().mean()}, {});
}

// In the order of the block's linears. The sizes of steps fall linearly to zero.
std::vector<Given> optimise(BlockInput& input) {
  Weights weights;
  for (auto& [linear, start] : input.linears) {
    weights.push_back(std::make_shared<quant::RoundingWeight>(start.name, std::move(start.weight),
                                                              start.options.spec, linear->compute()));
    linear->set_weight(weights.back());
  }
  const TextOptions& options = input.options;
  StepOrder order(step_texts(input.block, options.block_batch_size),
                  Random(options.seed, static_cast<std::uint64_t>(input.block.index())));
  for (std::int64_t step = 0; step < options.block_steps; ++step) {
    const auto steps = static_cast<double>(options.block_steps);
    const double rate = (1.0 - static_cast<double>(step) / steps) / std::max(steps, kFewestSteps);
    for (const auto& weight : weights)
      weight->set_rates({rate * options.block_lr, rate * options.block_range_lr});
    backward(input.block, order.next());
    for (const auto& weight : weights) weight->step();
    input.block.report(step + 1);
  }
  std::vector<Given> given;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    given.emplace_back(weights[i]->rounded());
    input.linears[i].linear->set_weight(std::make_shared<quant::IntegerWeight>(
        input.linears[i].input.name, std::get<quant::RoundedWeight>(given.back()).rounded));
    weights[i].reset();  // freed one by one, so that the peak is not that of both forms of the whole block
  }
  return given;
}

// Of every linear W, the codes of v and Ŵ, and at the end codes and what they were rounded from in its place.
std::int64_t bytes(const model::DecoderLayer& layer) {
  std::int64_t all = 0, largest = 0;
  for (const nn::Linear* linear : layer.linears()) {
    const std::int64_t weights = linear->out_features() * linear->in_features();
    all += (linear->compute() == ops::ComputeType::bfloat16 ? 8 : 10) * weights;
    largest = std::max(largest, weights);
  }
  return all + 12 * largest;
}

}  // namespace

Start blockwise_start() {
  return {.name = "blockwise",
          .help = "roundings and ranges learned block by block on calibration text",
          .gives = Gives::integers,
          .block = optimise,
          .bytes = bytes};
}

}  // namespace lrqat::start
