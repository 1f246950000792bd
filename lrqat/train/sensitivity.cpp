#include "lrqat/train/sensitivity.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "lrqat/base/error.h"
#include "lrqat/base/memory.h"
#include "lrqat/quant/integer_weight.h"
#include "lrqat/train/sampler.h"
#include "lrqat/train/train_step.h"

namespace lrqat::train {
namespace {

constexpr std::int64_t kTokensAtOnce = 512;
constexpr std::int64_t kRows = 64;  // that errors are taken from

// A frozen weight that sees the inputs of its linear and the gradients of its outputs.
class ObservedWeight final : public quant::WeightParametrization {
 public:
  explicit ObservedWeight(std::shared_ptr<quant::WeightParametrization> weight)
      : weight_(std::move(weight)),
        output_(at::zeros({weight_->out_features()}, at::kDouble)),
        input_(at::zeros({weight_->in_features()}, at::kDouble)),
        asks_(at::zeros({1}).set_requires_grad(true)) {}

  std::int64_t out_features() const override { return weight_->out_features(); }
  std::int64_t in_features() const override { return weight_->in_features(); }
  at::Device device() const override { return weight_->device(); }
  quant::WeightTile make_tile(std::int64_t row_begin, std::int64_t row_end,
                              ops::ComputeType compute) const override {
    return weight_->make_tile(row_begin, row_end, compute);
  }
  std::optional<ops::StoredWeight> stored_form() const override { return weight_->stored_form(); }
  // Without a parameter the layer would keep nothing for gradients.
  std::vector<quant::Parameter> parameters() const override {
    return {{"observed", asks_, quant::ParameterKind::scale}};
  }
  std::int64_t resident_bytes() const override { return weight_->resident_bytes(); }

  bool add_gradient_from_activations(const ops::LinearGradient& linear, at::TensorList) const override {
    const at::Tensor squares = linear.grad_output.square();
    const at::Tensor energy = squares.sum(1, /*keepdim=*/true);  // of each token
    output_.add_(squares.sum(0).to(at::kDouble).cpu());
    input_.add_((linear.x.to(at::kFloat).square() * energy).sum(0).to(at::kDouble).cpu());
    return true;
  }

  const std::shared_ptr<quant::WeightParametrization>& weight() const { return weight_; }
  Sensitivity sensitivity(std::int64_t tokens) const {
    const double energy = std::max(output_.sum().item<double>(), 1e-300);
    return {output_ / static_cast<double>(tokens), input_ / energy};
  }

 private:
  std::shared_ptr<quant::WeightParametrization> weight_;
  at::Tensor output_, input_;  // sums over tokens
  at::Tensor asks_;
};

// Observes every linear of a decoder as long as it lives.
class Observation {
 public:
  explicit Observation(model::Decoder& decoder) {
    for (nn::Linear* linear : decoder.linears()) {
      observed_.emplace_back(linear, std::make_shared<ObservedWeight>(linear->weight()));
      linear->set_weight(observed_.back().second);
    }
  }
  Observation(const Observation&) = delete;
  Observation& operator=(const Observation&) = delete;
  ~Observation() {
    for (const auto& [linear, weight] : observed_) linear->set_weight(weight->weight());
  }

  std::map<std::string, Sensitivity> found(std::int64_t tokens) const {
    std::map<std::string, Sensitivity> all;
    for (const auto& [linear, weight] : observed_) all.emplace(linear->name(), weight->sensitivity(tokens));
    return all;
  }

 private:
  std::vector<std::pair<nn::Linear*, std::shared_ptr<ObservedWeight>>> observed_;
};

}  // namespace

std::map<std::string, Sensitivity> measure_sensitivity(model::Decoder& decoder, const PackedDataset& text,
                                                       std::int64_t tokens, std::uint64_t seed,
                                                       ProgressReporter& progress) {
  const std::int64_t length = text.sequence_length();
  const std::int64_t sequences = std::min(text.size(), (tokens + length - 1) / length);
  const std::int64_t rows = std::max<std::int64_t>(1, kTokensAtOnce / length);
  const Observation observation(decoder);
  const TrainStep step(decoder, nullptr,
                       {.kept = kept_within(decoder, available_memory_bytes() / 2, rows * length)});
  Sampler sampler(text.size(), seed);
  std::int64_t scored = 0;
  progress.start("measuring sensitivity", sequences);
  for (std::int64_t done = 0; done < sequences;) {
    const auto indices = sampler.next(std::min(rows, sequences - done));
    const at::Tensor batch = text.batch(indices).to(decoder.device());
    scored += step.accumulate(batch, text.targets(indices).to(decoder.device()), /*divisor=*/1.0).tokens;
    done += std::ssize(indices);
    progress.update(done, "");
  }
  progress.finish();
  return observation.found(std::max<std::int64_t>(scored, 1));
}

double rounding_cost(const Sensitivity& sensitivity, const nn::Linear& linear, const quant::QuantSpec& spec,
                     const quant::RangeEstimator& range) {
  const std::int64_t rows = linear.out_features();
  const at::Tensor seen =
      at::arange(0, rows, std::max<std::int64_t>(1, (rows + kRows - 1) / kRows), at::kLong);
  std::vector<at::Tensor> parts;
  for (std::int64_t i = 0; i < seen.numel(); ++i) {
    const auto row = seen[i].item<std::int64_t>();
    parts.push_back(linear.weight()->make_tile(row, row + 1, ops::ComputeType::float32).to_float().cpu());
  }
  const at::Tensor weight = at::cat(parts);
  const quant::IntegerWeight rounded(linear.name(),
                                     quant::round_to_nearest(linear.name(), weight, spec, range));
  const at::Tensor values = rounded.make_tile(0, weight.size(0), ops::ComputeType::float32).to_float();
  const at::Tensor by_row = (values - weight).square().to(at::kDouble).mv(sensitivity.input);
  const at::Tensor of_rows = sensitivity.output.index_select(0, seen);
  const double share =
      of_rows.sum().item<double>() / std::max(sensitivity.output.sum().item<double>(), 1e-300);
  const double cost = 0.5 * of_rows.dot(by_row).item<double>() / std::max(share, 1e-300);
  LRQAT_CHECK(cost >= 0.0, linear.name(), cost);
  return cost;
}

}  // namespace lrqat::train
