// PEQA (arXiv 2305.14152; docs/method.md section 3): the integers of rounding to nearest stay, the scales are
// trained,
//     Ŵ = s·(q0 - z)      ds = Σ G ⊙ (q0 - z)
// with z = 0 or the fixed zero points of an asymmetric grid. Nothing is rounded in training. N out_features,
// K in_features, G scales a row.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>

#include "lrqat/quant/downcast.h"
#include "lrqat/quant/range_estimator.h"
#include "lrqat/quant/scale_parameter.h"
#include "lrqat/quant/tile_math.h"
#include "lrqat/quant/weight_parametrization.h"

namespace lrqat::methods {

struct Method;
struct SavedLayer;

class PeqaWeight final : public quant::WeightParametrization {
 public:
  // Rounds a pretrained weight, float32 [N, K], which is not kept. `name` is for messages.
  static std::shared_ptr<PeqaWeight> prepare(const std::string& name, const at::Tensor& weight,
                                             const quant::QuantSpec& spec, const quant::InitialRange& range);
  // On these integers.
  static std::shared_ptr<PeqaWeight> of(const quant::QuantizedWeight& rounded, const quant::QuantSpec& spec);
  // From a run's tensors.
  static std::shared_ptr<PeqaWeight> restore(const SavedLayer& saved, const quant::QuantSpec& spec);
  // From the parts: codes as Downcast::integer stores them; zero_point int8, shaped like the scale, undefined
  // on a symmetric grid. clipped_at_start: the share of weights that the codes clip, where it is known.
  PeqaWeight(const quant::QuantSpec& spec, quant::Phi0 codes, quant::ScaleParameter scale,
             at::Tensor zero_point, std::optional<double> clipped_at_start = {});

  std::int64_t out_features() const override { return codes_.out_features(); }
  std::int64_t in_features() const override { return codes_.in_features(); }
  at::Device device() const override { return codes_.tensor().device(); }
  quant::WeightTile make_tile(std::int64_t row_begin, std::int64_t row_end,
                              ops::ComputeType compute) const override;
  std::vector<quant::Parameter> parameters() const override;
  std::vector<std::pair<std::string, at::Tensor>> buffers() const override;
  void add_tile_gradient(std::int64_t row_begin, std::int64_t row_end, const at::Tensor& grad_weight,
                         at::TensorList grads) const override;
  // One scale a row: ds_n = Σ_t dy·y / s_n, without dL/dŴ.
  bool add_gradient_from_activations(const ops::LinearGradient& linear, at::TensorList grads) const override;
  std::optional<ops::StoredWeight> stored_form() const override;
  bool is_quantized() const override { return true; }
  quant::QuantizedWeight convert() const override;
  std::int64_t resident_bytes() const override;

 private:
  quant::QuantSpec options_;
  quant::Phi0 codes_;
  quant::ScaleParameter scale_;
  at::Tensor zero_point_;
  std::optional<double> clipped_at_start_;
};

Method peqa_method();  // its row (method.h)

}  // namespace lrqat::methods
