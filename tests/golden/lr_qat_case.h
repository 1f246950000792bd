// One case of lr_qat_linear.json as our own objects. T tokens, N out_features, K in_features, R rank, G
// groups.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>

#include "lrqat/methods/lr_qat_weight.h"
#include "tests/golden/golden_data.h"

namespace lrqat::golden {

struct LrQatCase {
  LrQatCase(const GoldenFile& file, const Json& entry);

  std::shared_ptr<methods::LrQatWeight> weight() const;  // a new one, over copies of the parameters
  bool asymmetric() const { return entry.at("quantizer") == "asymmetric"; }
  at::Tensor stored(const std::string& name) const { return file->tensor(entry, name); }
  bool has(const std::string& name) const { return has_tensor(entry, name); }

  const GoldenFile* file;
  Json entry;
  std::string name;
  methods::LrQatOptions options;
  at::Tensor u;  // W / s0 [N, K]
  quant::Phi0 phi_0;
  at::Tensor lora_a;  // [N, R] float32
  at::Tensor lora_b;  // [R, K] float32
  at::Tensor delta;   // the scale parameter, [1, 1], [N, 1] or [N, G]
  at::Tensor x;       // [2, 7, K]
  at::Tensor grad_y;  // [2, 7, N]
  at::Tensor bias;    // [N] or undefined
};

}  // namespace lrqat::golden
