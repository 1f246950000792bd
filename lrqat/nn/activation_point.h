// A place in a block where activations may be quantized. Points stand where docs/method.md section 9 has
// them; a point without a quantizer passes its tensor on.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>

#include "lrqat/quant/activation_quantizer.h"

namespace lrqat::nn {

struct ActivationPoint {
  std::shared_ptr<quant::ActivationQuantizer> quantizer;  // null: none

  at::Tensor operator()(const at::Tensor& x) const { return quantizer ? quantizer->forward(x) : x; }
};

}  // namespace lrqat::nn
