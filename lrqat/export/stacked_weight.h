// Matrices that lie one under the other in a file as one weight (Phi-3's qkv_proj and gate_up_proj).
#pragma once

#include <string>

#include "lrqat/export/folder.h"
#include "lrqat/quant/weight_parametrization.h"

namespace lrqat::exporting {

class StackedWeight final : public quant::WeightParametrization {
 public:
  // All quantized, with the same bits and groups, or none.
  explicit StackedWeight(Matrices parts) : parts_(std::move(parts)) {}

  std::int64_t out_features() const override;
  std::int64_t in_features() const override { return parts_.front()->in_features(); }
  at::Device device() const override { return parts_.front()->device(); }
  quant::WeightTile make_tile(std::int64_t row_begin, std::int64_t row_end,
                              ops::ComputeType compute) const override;
  bool is_quantized() const override { return parts_.front()->is_quantized(); }
  quant::QuantizedWeight convert() const override;
  std::int64_t resident_bytes() const override { return 0; }  // the parts' own

  const Matrices& parts() const { return parts_; }

 private:
  Matrices parts_;
};

// Error naming the module where parts cannot be one weight.
std::shared_ptr<quant::WeightParametrization> stack(const std::string& module, const Matrices& parts);

}  // namespace lrqat::exporting
