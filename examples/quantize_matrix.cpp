// Quantizes a random matrix with LR-QAT, trains it for a moment towards the float matrix's outputs, and
// prints what is left at the end: integers and scales. The smallest whole use of the library.
#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <iostream>

#include "lrqat/methods/lr_qat_weight.h"
#include "lrqat/nn/linear.h"

namespace {

constexpr int kSteps = 300;
constexpr double kRate = 0.1;  // length of the first step, falling linearly to zero

double mean_square_error(const at::Tensor& a, const at::Tensor& b) {
  return (a - b).square().mean().item<double>();
}

}  // namespace

int main() {
  at::manual_seed(0);
  const at::Tensor weight = at::randn({16, 64}) * 0.05;  // [out_features, in_features]
  // Inputs that lie in 12 of 64 dimensions: what rounding to nearest does not know, and training finds.
  const at::Tensor x = at::mm(at::randn({256, 12}), at::randn({12, 64})) / std::sqrt(12.0);
  const at::Tensor target = at::mm(x, weight.t());

  lrqat::methods::LrQatOptions options;
  options.grid = lrqat::quant::Grid::signed_symmetric(3);
  options.granularity = lrqat::quant::Granularity::parse("group:32");
  options.rank = 8;
  options.lora_alpha = 8.0;  // γ = lora_alpha / rank = 1
  const auto quantized = lrqat::methods::LrQatWeight::prepare(
      "example", weight, options, lrqat::quant::RangeEstimator::parse("minmax"), /*seed=*/1);
  const lrqat::nn::Linear linear("example", quantized, {}, lrqat::ops::ComputeType::float32);

  std::cout << "error after rounding: " << mean_square_error(linear.forward(x), target) << "\n";
  for (int step = 0; step < kSteps; ++step) {
    std::vector<at::Tensor> parameters;  // lora_a, lora_b, scale
    for (const auto& parameter : quantized->parameters()) parameters.push_back(parameter.value);
    const at::Tensor loss = (linear.forward(x) - target).square().mean();
    const auto grads = torch::autograd::grad({loss}, parameters);
    const double rate = kRate * (1.0 - static_cast<double>(step) / kSteps);
    const at::NoGradGuard no_grad;
    for (int i = 0; i < 2; ++i) {  // A and B; B has no gradient as long as A is zero
      parameters[i].sub_(grads[i] / (grads[i].norm() + 1e-12), rate);
    }
  }
  std::cout << "error after training: " << mean_square_error(linear.forward(x), target) << "\n";

  const lrqat::quant::QuantizedWeight result = quantized->convert();
  std::cout << "codes of the first row (" << result.grid.num_bits << " bits):";
  for (std::int64_t k = 0; k < result.weight_int.size(1); ++k) {
    std::cout << " " << static_cast<int>(result.weight_int[0][k].item<std::int8_t>());
  }
  std::cout << "\nscales of the first row:";
  for (std::int64_t g = 0; g < result.scale.size(1); ++g)
    std::cout << " " << result.scale[0][g].item<float>();
  std::cout << "\n";
}
