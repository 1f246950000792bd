// A converted weight: frozen integers and scales, Ŵ = s·q, or s·(q - zero_point) + offset where the grid is
// shifted. What training leaves behind, what round-to-nearest makes, and what converted folders and quantized
// files hold. Codes of at most 4 bits are kept two a byte. N out_features, K in_features, G scales a row.
#pragma once

#include <ATen/core/Tensor.h>

#include "lrqat/quant/low_rank_tile_op.h"
#include "lrqat/quant/range_estimator.h"
#include "lrqat/quant/scale_parameter.h"
#include "lrqat/quant/tile_math.h"
#include "lrqat/quant/weight_parametrization.h"

namespace lrqat::quant {

class IntegerWeight final : public WeightParametrization {
 public:
  // `name` is for messages. Error when codes lie outside the grid or shapes disagree.
  IntegerWeight(const std::string& name, const QuantizedWeight& weight);

  std::int64_t out_features() const override { return phi_0_.out_features(); }
  std::int64_t in_features() const override { return phi_0_.in_features(); }
  at::Device device() const override { return phi_0_.tensor().device(); }
  WeightTile make_tile(std::int64_t row_begin, std::int64_t row_end, ops::ComputeType compute) const override;
  std::vector<std::pair<std::string, at::Tensor>> buffers() const override;
  std::optional<ops::OperandSource> operand_source(ops::ComputeType compute) const override;
  bool is_quantized() const override { return true; }
  QuantizedWeight convert() const override;
  std::int64_t resident_bytes() const override;

 private:
  Grid grid_;
  Granularity granularity_;
  Phi0 phi_0_;
  at::Tensor scale_;
  GridShift shift_;
  double clipped_fraction_;
};

// Rounding to nearest, the baseline: q = clip(round(W / s)), s from the estimator and snapped to
// `scale_type`. weight float32 [N, K]; `name` is for messages.
QuantizedWeight round_to_nearest(const std::string& name, const at::Tensor& weight, const Grid& grid,
                                 const Granularity& granularity, const RangeEstimator& estimator,
                                 const ScaleOptions& scale_options);
// On an asymmetric grid: q = clip(round(W / s) + z), with a whole zero point z a scale.
QuantizedWeight round_to_nearest_asymmetric(const std::string& name, const at::Tensor& weight,
                                            const Grid& grid, const Granularity& granularity,
                                            const RangeEstimator& estimator,
                                            const ScaleOptions& scale_options);

}  // namespace lrqat::quant
