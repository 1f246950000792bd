// Token embedding over a weight parametrisation [V, H]: only the rows asked for are made, so a table that
// lies in a file, in blocks or in 16 bits stays there. A tied head shares the parametrisation.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>

#include "lrqat/quant/weight_parametrization.h"

namespace lrqat::nn {

class Embedding {
 public:
  explicit Embedding(std::shared_ptr<quant::WeightParametrization> weight) : weight_(std::move(weight)) {}

  // tokens [B, T] int64 -> [B, T, H] float32. A token outside the vocabulary is an Error.
  at::Tensor forward(const at::Tensor& tokens) const;

  const std::shared_ptr<quant::WeightParametrization>& weight() const { return weight_; }

 private:
  std::shared_ptr<quant::WeightParametrization> weight_;
};

}  // namespace lrqat::nn
