// LR-QAT (arXiv 2406.06385; method.md section 2):
//     Z = Φ0 + γ·A·B      q = clip(round(Z), quant_min, quant_max)      Ŵ = s·q
// Trainables: lora_a [N, R] (zeros at the start), lora_b [R, K] (Kaiming-uniform), scale. Frozen: phi_0.
// Gradients, with M = 1 where the rounded value lies in the grid and G = dL/dŴ:
//     ds = Σ G ⊙ q      dZ = G ⊙ s ⊙ M      dA = γ dZ Bᵀ      dB = γ Aᵀ dZ
// N out_features, K in_features, R rank, T tokens.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>

#include "lrqat/ops/low_rank_gradient.h"
#include "lrqat/quant/downcast.h"
#include "lrqat/quant/range_estimator.h"
#include "lrqat/quant/scale_parameter.h"
#include "lrqat/quant/tile_math.h"
#include "lrqat/quant/weight_parametrization.h"

namespace lrqat::methods {

struct LrQatOptions {
  quant::Grid grid;
  quant::Granularity granularity;
  quant::Downcast downcast = quant::Downcast::fixed_point8;
  std::int64_t rank = 32;
  double lora_alpha = 1.0;
  quant::ScaleOptions scale;
  bool bfloat16_product = false;  // γAB rounded to bfloat16, as with adapters kept in bfloat16

  double scaling() const;                       // γ = lora_alpha / rank
  quant::QuantSpec spec(bool symmetric) const;  // of the grid
};

class LrQatWeight final : public quant::WeightParametrization {
 public:
  // From a pretrained weight, float32 [N, K], which is not kept: s0 from `range` (snapped as in training), Φ0
  // = φ(W / s0), A = 0, B Kaiming-uniform from `seed`. `name` is for messages.
  static std::shared_ptr<LrQatWeight> prepare(const std::string& name, const at::Tensor& weight,
                                              const LrQatOptions& options, const quant::InitialRange& range,
                                              std::uint64_t seed);

  // From the parts (a checkpoint). lora_a [N, R], lora_b [R, K], scale: all float32 leaves.
  // zero_point, of an asymmetric grid (int8, shaped like the scale): Ŵ = s·(q - zero_point), Φ0 holds
  // φ(W / s0 + zero_point); lr_qat_start.h makes such weights. clipped_at_start: the share of W / s0 beyond
  // the grid, which Φ0 does not tell, where it is known.
  LrQatWeight(const LrQatOptions& options, quant::Phi0 phi_0, quant::ScaleParameter scale, at::Tensor lora_a,
              at::Tensor lora_b, at::Tensor zero_point = {}, std::optional<double> clipped_at_start = {});

  std::int64_t out_features() const override { return phi_0_.out_features(); }
  std::int64_t in_features() const override { return phi_0_.in_features(); }
  at::Device device() const override;
  quant::WeightTile make_tile(std::int64_t row_begin, std::int64_t row_end,
                              ops::ComputeType compute) const override;
  std::vector<quant::Parameter> parameters() const override;
  std::vector<std::pair<std::string, at::Tensor>> buffers() const override;
  void add_tile_gradient(std::int64_t row_begin, std::int64_t row_end, const at::Tensor& grad_weight,
                         at::TensorList grads) const override;
  bool add_gradient_from_activations(const ops::LinearGradient& linear, at::TensorList grads) const override;
  // Above this share of clipped entries dL/dŴ in blocks is taken instead of the form without it.
  static double largest_clipped_share(ops::ComputeType compute);
  // The form without dL/dŴ, refused (false, nothing added) where a larger share of the weight is clipped and
  // where the granularity has none.
  bool add_low_rank_gradient(const ops::LinearGradient& linear, at::TensorList grads,
                             double largest_clipped_share) const;
  // dL/dŴ in blocks that are made and used up in one pass, for any granularity; false where there are no
  // block products.
  bool add_blockwise_gradient(const ops::LinearGradient& linear, at::TensorList grads) const;
  std::optional<ops::StoredWeight> stored_form() const override;
  std::int64_t most_clipped(ops::ComputeType compute) const override;
  bool is_quantized() const override { return true; }
  // Its clipped_fraction is that of Z; as long as A is zero, that of W / s0, where it is known.
  quant::QuantizedWeight convert() const override;
  std::int64_t resident_bytes() const override;

  const LrQatOptions& options() const { return options_; }
  const quant::ScaleParameter& scale() const { return scale_; }

 private:
  // Whether this granularity's gradients can do without dL/dŴ, and should.
  bool has_low_rank_gradient() const;
  std::int64_t entries(double share) const;  // of the weight
  ops::StoredWeight stored(std::int64_t row_begin, std::int64_t row_end) const;
  bool add_gradient(const std::optional<ops::LowRankGradient>& gradient, at::TensorList grads) const;

  LrQatOptions options_;
  quant::Phi0 phi_0_;
  quant::ScaleParameter scale_;
  at::Tensor lora_a_;
  at::Tensor lora_b_;
  quant::GridShift shift_;
  std::optional<double> clipped_at_start_;
};

}  // namespace lrqat::methods
