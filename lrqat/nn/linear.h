// A linear layer over any weight parametrisation: y = x Ŵᵀ (+ bias), Ŵ made tile by tile in forward and again
// in backward, so that nothing of size N×K is ever kept in float. T tokens (all leading dimensions of x), N
// out_features, K in_features.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lrqat/quant/weight_parametrization.h"

namespace lrqat::nn {

// Sees the input of a linear, float32 [T, K], at every forward pass.
using InputObserver = std::function<void(const at::Tensor& x2d)>;

class Linear {
 public:
  // `name` is the Hugging Face module name (model.layers.0.self_attn.q_proj). bias: [N] float32 or undefined,
  // frozen.
  Linear(std::string name, std::shared_ptr<quant::WeightParametrization> weight, at::Tensor bias,
         ops::ComputeType compute);

  // x [..., K] float32 -> [..., N] float32; differentiable in x and in the parametrisation's parameters.
  // product: for layers that run twice (checkpoint.h). The run without a graph leaves x Ŵᵀ there, the run
  // that finds it there takes it instead of multiplying.
  at::Tensor forward(const at::Tensor& x, at::Tensor* product = nullptr) const;
  // Of linears that read the same x: what their products want of it is made and kept once.
  static std::vector<at::Tensor> forward_all(std::initializer_list<const Linear*> linears,
                                             const at::Tensor& x);

  // The same product and its transpose without autograd, for hand-written backwards (x2d [T, K], grad [T,
  // N]):
  at::Tensor multiply(const at::Tensor& x2d) const;              // x Ŵᵀ, without bias, float32 [T, N]
  at::Tensor multiply_transposed(const at::Tensor& grad) const;  // grad Ŵ, float32 [T, K]

  const std::string& name() const { return name_; }
  const at::Tensor& bias() const { return bias_; }
  const std::shared_ptr<quant::WeightParametrization>& weight() const { return weight_; }
  // Replaces the weight by another parametrisation of the same shape (prepare, convert).
  void set_weight(std::shared_ptr<quant::WeightParametrization> weight);
  ops::ComputeType compute() const { return compute_; }
  void set_compute(ops::ComputeType compute) { compute_ = compute; }
  void set_input_observer(InputObserver observer) { observer_ = std::move(observer); }  // {}: none
  std::int64_t out_features() const { return weight_->out_features(); }
  std::int64_t in_features() const { return weight_->in_features(); }

 private:
  static std::vector<at::Tensor> forward_all(std::initializer_list<const Linear*> linears,
                                             const at::Tensor& x, at::Tensor* product);

  std::string name_;
  std::shared_ptr<quant::WeightParametrization> weight_;
  at::Tensor bias_;
  ops::ComputeType compute_;
  InputObserver observer_;
};

}  // namespace lrqat::nn
