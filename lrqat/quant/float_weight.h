// A frozen float weight (float32, bfloat16 or float16 storage), as a parametrisation without parameters: the
// teacher, the head, any layer that is not quantized.
#pragma once

#include <ATen/core/Tensor.h>

#include "lrqat/quant/weight_parametrization.h"

namespace lrqat::quant {

class FloatWeight final : public WeightParametrization {
 public:
  explicit FloatWeight(at::Tensor weight);  // [N, K]

  std::int64_t out_features() const override { return weight_.size(0); }
  std::int64_t in_features() const override { return weight_.size(1); }
  at::Device device() const override { return weight_.device(); }
  // A view where the storage has the compute type already, otherwise a converted copy of the rows.
  WeightTile make_tile(std::int64_t row_begin, std::int64_t row_end, ops::ComputeType compute) const override;
  std::optional<ops::StoredWeight> stored_form() const override { return ops::stored_float(weight_); }
  std::int64_t resident_bytes() const override { return static_cast<std::int64_t>(weight_.nbytes()); }
  at::Tensor float_storage() const override { return weight_; }

 private:
  at::Tensor weight_;
};

}  // namespace lrqat::quant
