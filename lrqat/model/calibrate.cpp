#include "lrqat/model/calibrate.h"

#include <ATen/ATen.h>

#include <array>
#include <utility>

#include "lrqat/base/memory.h"

namespace lrqat::model {
namespace {

using Linears = std::span<nn::Linear* const>;
using Batches = std::vector<at::Tensor>;  // hidden states [B, L, H]

class Hessian {
 public:
  explicit Hessian(const nn::Linear& linear, at::Device device)
      : sum_(at::zeros({linear.in_features(), linear.in_features()}, at::TensorOptions(device))) {}
  void add(const at::Tensor& x) {
    const at::Tensor rows = x.reshape({-1, sum_.size(0)}).to(at::kFloat);
    sum_.addmm_(rows.t(), rows, 1.0, 2.0);
  }
  const at::Tensor& sum() const { return sum_; }

 private:
  at::Tensor sum_;
};

// Observes one linear for as long as it lives.
class Observation {
 public:
  Observation(nn::Linear& linear, Hessian& hessian) : linear_(linear) {
    linear_.set_input_observer([&hessian](const at::Tensor& x) { hessian.add(x); });
  }
  ~Observation() { linear_.set_input_observer({}); }
  Observation(const Observation&) = delete;
  Observation& operator=(const Observation&) = delete;

 private:
  nn::Linear& linear_;
};

class LayerCalibration {
 public:
  LayerCalibration(Decoder& decoder, std::int64_t index, const CalibrationVisitor& visitor)
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
    Hessian hessian(*linears[0], decoder_.device());
    for (const at::Tensor& batch : hidden) hessian.add(norm.forward(batch));
    visitor_.prepare(linears, hessian.sum());
  }

  // The input of a linear inside of a half of the layer: seen while that half runs.
  void prepare_within(Linears linears, const Batches& hidden,
                      at::Tensor (LayerCalibration::*half)(const at::Tensor&) const) const {
    if (!visitor_.wants_input(linears)) return visitor_.prepare(linears, {});
    Hessian hessian(*linears[0], decoder_.device());
    {
      const Observation observation(*linears[0], hessian);
      for (const at::Tensor& batch : hidden) (this->*half)(batch);
    }
    visitor_.prepare(linears, hessian.sum());
  }

  Decoder& decoder_;
  DecoderLayer& layer_;
  const nn::RotaryEmbedding& rotary_;
  const CalibrationVisitor& visitor_;
};

}  // namespace

void calibrate(Decoder& decoder, std::span<const at::Tensor> batches, const CalibrationVisitor& visitor,
               ProgressReporter& progress) {
  const at::NoGradGuard no_grad;
  progress.start("calibrate", decoder.num_layers());
  Batches hidden;
  for (const at::Tensor& tokens : batches) hidden.push_back(decoder.embed(tokens.to(decoder.device())));
  for (std::int64_t i = 0; i < decoder.num_layers(); ++i) {
    LayerCalibration(decoder, i, visitor).run(hidden);
    release_free_memory();
    progress.update(i + 1, concat("layer ", i));
  }
  progress.finish();
}

}  // namespace lrqat::model
