#include "lrqat/start/calibrate.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "lrqat/base/memory.h"

namespace lrqat::start {
namespace {

using Linears = std::span<nn::Linear* const>;
using Batches = std::vector<at::Tensor>;  // hidden states [B, L, H]

// Sums over the inputs of one linear.
class InputSums {
 public:
  InputSums(const nn::Linear& linear, at::Device device)
      : hessian_(at::zeros({linear.in_features(), linear.in_features()}, at::TensorOptions(device))) {}

  void add(const at::Tensor& x) {
    const at::Tensor rows = x.reshape({-1, hessian_.size(0)}).to(at::kFloat);
    hessian_.addmm_(rows.t(), rows, 1.0, 2.0);
  }

  const at::Tensor& hessian() const { return hessian_; }

 private:
  at::Tensor hessian_;
};

// And over their sizes.
class InputSizes {
 public:
  InputSizes(const nn::Linear& linear, at::Device device)
      : sums_(linear, device),
        absolute_(at::zeros({linear.in_features()}, at::TensorOptions(device).dtype(at::kDouble))) {}

  void add(const at::Tensor& x) {
    sums_.add(x);
    const at::Tensor rows = x.reshape({-1, absolute_.size(0)});
    absolute_.add_(at::linalg_vector_norm(rows, 1, {0}, false, at::kDouble));
    tokens_ += rows.size(0);
  }

  quant::InputStatistics statistics() const {
    return {sums_.hessian(),
            (absolute_ / static_cast<double>(std::max<std::int64_t>(tokens_, 1))).to(at::kFloat)};
  }

 private:
  InputSums sums_;
  at::Tensor absolute_;
  std::int64_t tokens_ = 0;
};

// Observes one linear for as long as it lives.
class Observation {
 public:
  template <typename Sums>
  Observation(nn::Linear& linear, Sums& sums) : linear_(linear) {
    linear_.set_input_observer([&sums](const at::Tensor& x) { sums.add(x); });
  }
  ~Observation() { linear_.set_input_observer({}); }
  Observation(const Observation&) = delete;
  Observation& operator=(const Observation&) = delete;

 private:
  nn::Linear& linear_;
};

class LayerCalibration {
 public:
  LayerCalibration(model::Decoder& decoder, std::int64_t index, const CalibrationVisitor& visitor)
      : decoder_(decoder), layer_(decoder.layer(index)), rotary_(decoder.rotary(index)), visitor_(visitor) {}

  // hidden: what goes into the layer; what comes out of it afterwards.
  void run(Batches& hidden) {
    const auto linears = layer_.linears();  // q, k, v, o, gate, up, down
    const Linears all(linears);
    prepare_after_norm(all.subspan(0, 3), layer_.input_layernorm(), hidden);
    prepare_within(all.subspan(3, 1), hidden, &LayerCalibration::attend);
    for (at::Tensor& batch : hidden) batch = attend(batch);
    prepare_after_norm(all.subspan(4, 2), layer_.feed_forward_norm(), hidden);
    prepare_within(all.subspan(6, 1), hidden, &LayerCalibration::feed_forward);
    for (at::Tensor& batch : hidden) batch = feed_forward(batch);
  }

 private:
  at::Tensor attend(const at::Tensor& hidden) const { return layer_.attend(hidden, rotary_, 0, nullptr); }
  at::Tensor feed_forward(const at::Tensor& attended) const { return layer_.feed_forward(attended); }

  void prepare_after_norm(Linears linears, const nn::RmsNorm& norm, const Batches& hidden) const {
    if (!visitor_.wants_input(linears)) return visitor_.prepare(linears, {});
    InputSums sums(*linears[0], decoder_.device());
    for (const at::Tensor& batch : hidden) sums.add(norm.forward(batch));
    visitor_.prepare(linears, sums.hessian());
  }

  // The input of a linear inside of a half of the layer: seen while that half runs.
  void prepare_within(Linears linears, const Batches& hidden,
                      at::Tensor (LayerCalibration::*half)(const at::Tensor&) const) const {
    if (!visitor_.wants_input(linears)) return visitor_.prepare(linears, {});
    InputSums sums(*linears[0], decoder_.device());
    {
      const Observation observation(*linears[0], sums);
      for (const at::Tensor& batch : hidden) (this->*half)(batch);
    }
    visitor_.prepare(linears, sums.hessian());
  }

  model::Decoder& decoder_;
  model::DecoderLayer& layer_;
  const nn::RotaryEmbedding& rotary_;
  const CalibrationVisitor& visitor_;
};

LayerInputs observe_layer(model::Decoder& decoder, std::int64_t index, const Batches& hidden) {
  const auto linears = decoder.layer(index).linears();  // q, k, v, o, gate, up, down
  std::vector<InputSizes> sums;
  for (const std::size_t i : {0, 3, 4, 6}) sums.emplace_back(*linears[i], decoder.device());
  {
    const Observation q(*linears[0], sums[0]), o(*linears[3], sums[1]), gate(*linears[4], sums[2]),
        down(*linears[6], sums[3]);
    for (const at::Tensor& batch : hidden) decoder.layer_forward(index, batch);
  }
  return {sums[0].statistics(), sums[1].statistics(), sums[2].statistics(), sums[3].statistics()};
}

// Calls visit(i, hidden) for each layer; it leaves the layer's outputs in `hidden`.
template <typename Visit>
void for_each_layer(model::Decoder& decoder, std::span<const at::Tensor> batches, const Visit& visit,
                    ProgressReporter& progress) {
  const at::NoGradGuard no_grad;
  progress.start("calibrate", decoder.num_layers());
  Batches hidden;
  for (const at::Tensor& tokens : batches) hidden.push_back(decoder.embed(tokens.to(decoder.device())));
  for (std::int64_t i = 0; i < decoder.num_layers(); ++i) {
    visit(i, hidden);
    release_free_memory();
    progress.update(i + 1, concat("layer ", i));
  }
  progress.finish();
}

}  // namespace

void calibrate(model::Decoder& decoder, std::span<const at::Tensor> batches,
               const CalibrationVisitor& visitor, ProgressReporter& progress) {
  const auto visit = [&](std::int64_t i, Batches& hidden) {
    LayerCalibration(decoder, i, visitor).run(hidden);
  };
  for_each_layer(decoder, batches, visit, progress);
}

void calibrate_layers(model::Decoder& decoder, std::span<const at::Tensor> batches,
                      const PrepareLayer& prepare, ProgressReporter& progress) {
  const auto visit = [&](std::int64_t i, Batches& hidden) {
    prepare(i, observe_layer(decoder, i, hidden));
    for (at::Tensor& batch : hidden) batch = decoder.layer_forward(i, batch);
  };
  for_each_layer(decoder, batches, visit, progress);
}

}  // namespace lrqat::start
