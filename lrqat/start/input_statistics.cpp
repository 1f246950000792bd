#include "lrqat/start/input_statistics.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace lrqat::start {
namespace {

at::Tensor no_inputs(std::int64_t in_features, at::Device device) {
  return at::zeros({in_features, in_features}, at::TensorOptions(device).dtype(at::kFloat));
}

void add_inputs(at::Tensor& hessian, const at::Tensor& x) {
  const at::Tensor rows = x.to(at::kFloat);
  hessian.addmm_(rows.t(), rows, 1.0, 2.0);
}

// Sums over the inputs of one group.
struct InputSums {
  at::Tensor hessian;   // float32 [K, K]
  at::Tensor absolute;  // Σ |x|, float64 [K]
  std::int64_t tokens = 0;

  InputSums(std::int64_t in_features, at::Device device)
      : hessian(no_inputs(in_features, device)),
        absolute(at::zeros({in_features}, at::TensorOptions(device).dtype(at::kDouble))) {}

  void add(const at::Tensor& x) {
    add_inputs(hessian, x);
    absolute.add_(at::linalg_vector_norm(x, 1, {0}, false, at::kDouble));
    tokens += x.size(0);
  }

  quant::InputStatistics statistics() const {
    return {hessian, (absolute / static_cast<double>(std::max<std::int64_t>(tokens, 1))).to(at::kFloat)};
  }
};

}  // namespace

at::Tensor input_hessian(const model::LinearGroup& group, const ForEachInput& inputs, at::Device device) {
  at::Tensor hessian = no_inputs(group.in_features(), device);
  inputs([&](const at::Tensor& x) { add_inputs(hessian, x); });
  return hessian;
}

std::vector<quant::InputStatistics> input_statistics(const Block& block) {
  std::vector<InputSums> sums;
  for (const model::LinearGroup& group : block.layer().linear_groups()) {
    sums.emplace_back(group.in_features(), block.device());
  }
  block.observe([&](std::size_t group, const at::Tensor& x) { sums[group].add(x); });
  std::vector<quant::InputStatistics> out;
  for (const InputSums& sum : sums) out.push_back(sum.statistics());
  return out;
}

}  // namespace lrqat::start
