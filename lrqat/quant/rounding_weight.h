// The weight of a linear while its rounding is learned (start/blockwise.cpp). As in SignRound (arXiv
// 2309.05516), every weight has an offset v in [-1/2, 1/2] that decides where it rounds to, and every scale
// learned factors of its range,
//     q = clip(round(W/s + v) + z, quant_min, quant_max)      Ŵ = s·(q - z)
//     symmetric: s = m·s0, z = 0      asymmetric: s = (m₂·hi - m₁·lo) / (2^b - 1), z = quant_min -
//     round(m₁·lo / s)
// with s0 of the full range, of either sign: the code -2^(b-1), which has no positive counterpart, lies on
// the side of the larger weight. m begin where rounding has the least squared error. v takes its step as soon
// as rows of dL/dŴ are there, so that no gradient of the weight's size is ever kept; m take theirs in
// step(). N out_features, K in_features, G scales a row.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lrqat/ops/learned_rounding.h"
#include "lrqat/quant/gptq.h"
#include "lrqat/quant/range_estimator.h"
#include "lrqat/quant/weight_parametrization.h"

namespace lrqat::quant {

// Sizes of one step of sign descent.
struct RoundingRates {
  double rounding = 0.0;  // of v
  double range = 0.0;     // of m
};

class RoundingWeight final : public WeightParametrization {
 public:
  // weight float32 [N, K] is kept; Ŵ is kept in the type of `compute`.
  RoundingWeight(const std::string& name, at::Tensor weight, const QuantSpec& spec, ops::ComputeType compute);

  std::int64_t out_features() const override { return state_.weight.size(0); }
  std::int64_t in_features() const override { return state_.weight.size(1); }
  at::Device device() const override { return state_.weight.device(); }
  WeightTile make_tile(std::int64_t row_begin, std::int64_t row_end, ops::ComputeType compute) const override;
  std::optional<ops::StoredWeight> stored_form() const override { return ops::stored_float(values_); }
  std::vector<Parameter> parameters() const override;  // m, so that the layer asks for gradients
  bool add_gradient_from_activations(const ops::LinearGradient& linear, at::TensorList grads) const override;
  std::int64_t resident_bytes() const override;

  void set_rates(const RoundingRates& rates) { rates_ = rates; }
  // After a backward pass: m take their step, and Ŵ follows them.
  void step();

  // The integers, and W/s + v + z, which they were rounded from.
  RoundedWeight rounded() const;

 private:
  void search_range();                // the first m
  at::Tensor first_end() const;       // m·s0; asymmetric: m₁·lo
  at::Tensor scale_of_range() const;  // s of m, before it is rounded to its type
  void set_range();                   // s and z of m
  void make_values();

  QuantSpec spec_;
  ops::LearnedRounding state_;
  std::vector<at::Tensor> range_;    // symmetric: s0; asymmetric: lo, hi, unsigned; [1, 1], [N, 1] or [N, G]
  at::Tensor sign_;                  // of s, int8; undefined: none is negative
  std::vector<at::Tensor> factors_;  // m, shaped alike
  at::Tensor values_;                // Ŵ
  RoundingRates rates_;
};

}  // namespace lrqat::quant
