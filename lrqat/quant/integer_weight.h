// A converted weight: frozen integers and scales, Ŵ = s·q, or s·(q - zero_point) + offset where the grid is
// shifted. What training leaves behind, what round-to-nearest makes, and what converted folders and quantized
// files hold. Codes of at most 4 bits are kept two a byte. N out_features, K in_features, G scales a row.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>

#include "lrqat/quant/downcast.h"
#include "lrqat/quant/range_estimator.h"
#include "lrqat/quant/scale_parameter.h"
#include "lrqat/quant/tile_math.h"
#include "lrqat/quant/weight_parametrization.h"

namespace lrqat::quant {

class IntegerWeight final : public WeightParametrization {
 public:
  // `name` is for messages. Error when codes lie outside the grid or shapes disagree.
  IntegerWeight(const std::string& name, const QuantizedWeight& weight);
  // From what buffers() gave: `codes` are not copied, so they may lie on a memory map. `rest` has no codes.
  IntegerWeight(const std::string& name, Phi0 codes, const QuantizedWeight& rest);

  std::int64_t out_features() const override { return phi_0_.out_features(); }
  std::int64_t in_features() const override { return phi_0_.in_features(); }
  at::Device device() const override { return phi_0_.tensor().device(); }
  WeightTile make_tile(std::int64_t row_begin, std::int64_t row_end, ops::ComputeType compute) const override;
  std::vector<std::pair<std::string, at::Tensor>> buffers() const override;
  std::optional<ops::StoredWeight> stored_form() const override;
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

// Rounding to nearest, the baseline: q = clip(round(W / s)), or clip(round(W / s) + z) with a whole zero
// point z a scale where the grid is asymmetric; s and z from `range`, s snapped to the spec's scale type.
// weight float32 [N, K]; `name` is for messages.
QuantizedWeight round_to_nearest(const std::string& name, const at::Tensor& weight, const QuantSpec& spec,
                                 const InitialRange& range = {});

// Where float adapters lie over integers: Ŵ rounded to nearest on the integers' own grid and scales (codes
// change, adapters that are small against a step are lost), which is another model. Any other weight comes
// back as it is.
std::shared_ptr<WeightParametrization> merged_by_rounding(
    const std::string& layer, const std::shared_ptr<WeightParametrization>& weight);

}  // namespace lrqat::quant
