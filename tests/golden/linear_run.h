// A parametrisation in nn::Linear on a golden case's x and dy: y and every gradient, in either form that the
// gradient of the parameters has.
#pragma once

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include <map>
#include <memory>
#include <string>

#include "lrqat/nn/linear.h"

namespace lrqat::golden {

// The same weight, its parameters' gradients through dL/dŴ tile by tile.
class TiledForm final : public quant::WeightParametrization {
 public:
  explicit TiledForm(std::shared_ptr<quant::WeightParametrization> weight) : weight_(std::move(weight)) {}
  std::int64_t out_features() const override { return weight_->out_features(); }
  std::int64_t in_features() const override { return weight_->in_features(); }
  at::Device device() const override { return weight_->device(); }
  quant::WeightTile make_tile(std::int64_t begin, std::int64_t end, ops::ComputeType compute) const override {
    return weight_->make_tile(begin, end, compute);
  }
  std::vector<quant::Parameter> parameters() const override { return weight_->parameters(); }
  void add_tile_gradient(std::int64_t begin, std::int64_t end, const at::Tensor& grad_weight,
                         at::TensorList grads) const override {
    weight_->add_tile_gradient(begin, end, grad_weight, grads);
  }
  std::int64_t resident_bytes() const override { return weight_->resident_bytes(); }

 private:
  std::shared_ptr<quant::WeightParametrization> weight_;
};

struct LinearRun {
  at::Tensor y;
  at::Tensor grad_x;
  std::map<std::string, at::Tensor> grads;  // by the parameter's name
};

inline LinearRun run_linear(const std::shared_ptr<quant::WeightParametrization>& weight, const at::Tensor& x,
                            const at::Tensor& grad_y) {
  const nn::Linear linear("golden", weight, {}, ops::ComputeType::float32);
  const at::Tensor input = x.clone().requires_grad_();
  const auto parameters = weight->parameters();
  std::vector<at::Tensor> inputs{input};
  for (const auto& parameter : parameters) inputs.push_back(parameter.value);
  LinearRun run;
  run.y = linear.forward(input);
  const auto grads = torch::autograd::grad({run.y}, inputs, {grad_y});
  run.grad_x = grads[0];
  for (std::size_t i = 0; i < parameters.size(); ++i) run.grads[parameters[i].name] = grads[i + 1];
  return run;
}

// dL/dŴ of the case in float64, seen as one row a scale.
inline at::Tensor weight_gradient_rows(const at::Tensor& x, const at::Tensor& grad_y, std::int64_t scales) {
  return at::mm(grad_y.flatten(0, 1).to(at::kDouble).t(), x.flatten(0, 1).to(at::kDouble))
      .reshape({scales, -1});
}

// The largest sqrt(Σ terms²) of a scale's weights: what sums that cancel are measured against.
inline double largest_root(const at::Tensor& terms) {
  return terms.to(at::kDouble).square().sum(1).max().sqrt().item<double>();
}

}  // namespace lrqat::golden
