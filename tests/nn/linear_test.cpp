// Linears that read the same input together: the outputs and parameters' gradients of each by itself, bit for
// bit, and the sum of what they send back to the input.
#include "lrqat/nn/linear.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "lrqat/ops/block_product.h"
#include "lrqat/quant/float_weight.h"
#include "tests/quant/drawn_weight.h"

namespace lrqat::nn {
namespace {

using ops::ComputeType;

struct Gradients {
  std::vector<at::Tensor> outputs, parameters;
  at::Tensor input;
};

std::vector<Linear> draw_linears(ComputeType compute) {
  const auto drawn = [](const char* granularity, std::int64_t rows) {
    return quant::testing::draw_weight(
        quant::testing::options_of(4, granularity, quant::Downcast::fixed_point8), {rows, 64, 1.0, 3});
  };
  std::vector<Linear> linears;
  linears.emplace_back("a", drawn("channel", 48), at::Tensor(), compute);
  linears.emplace_back("b", drawn("group:32", 32), at::randn({32}), compute);
  linears.emplace_back("c", std::make_shared<quant::FloatWeight>(at::randn({16, 64})), at::Tensor(), compute);
  return linears;
}

template <typename Forward>
Gradients run(const std::vector<Linear>& linears, const Forward& forward) {
  at::manual_seed(4);
  const at::Tensor x = at::randn({2, 37, 64}).set_requires_grad(true);
  Gradients out;
  out.outputs = forward(x);
  std::vector<at::Tensor> wanted{x}, grads;
  for (const Linear& linear : linears) {
    for (const auto& parameter : linear.weight()->parameters()) wanted.push_back(parameter.value);
  }
  for (const at::Tensor& y : out.outputs) grads.push_back(at::randn_like(y));
  auto found = torch::autograd::grad(out.outputs, wanted, grads);
  out.input = found.front();
  out.parameters.assign(found.begin() + 1, found.end());
  return out;
}

TEST(Linear, TogetherIsWhatEachIsByItself) {
  for (const bool blocks : {true, false}) {
    ops::allow_block_products(blocks);
    for (const auto compute : {ComputeType::float32, ComputeType::bfloat16}) {
      const std::vector<Linear> linears = draw_linears(compute);
      const Gradients together = run(linears, [&](const at::Tensor& x) {
        return Linear::forward_all({&linears[0], &linears[1], &linears[2]}, x);
      });
      const Gradients apart = run(linears, [&](const at::Tensor& x) {
        return std::vector<at::Tensor>{linears[0].forward(x), linears[1].forward(x), linears[2].forward(x)};
      });
      for (std::size_t i = 0; i < 3; ++i) EXPECT_TRUE(at::equal(together.outputs[i], apart.outputs[i])) << i;
      ASSERT_EQ(together.parameters.size(), 6U);
      for (std::size_t i = 0; i < 6; ++i)
        EXPECT_TRUE(at::equal(together.parameters[i], apart.parameters[i])) << i;
      EXPECT_LT(((together.input - apart.input).norm() / apart.input.norm()).item<double>(), 1e-6);
      EXPECT_GT(apart.input.norm().item<double>(), 0.0);
    }
  }
  ops::allow_block_products(true);
}

}  // namespace
}  // namespace lrqat::nn
