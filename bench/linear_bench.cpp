// One LR-QAT linear forward and backward against its own limit, the two matrix products that cannot be saved
// (y = x Wᵀ and dx = dy W), in the same run: the counter "ratio" is the time of both over the time of the
// limit. One scale a channel, T = 1024 tokens, rank 32.
#include <ATen/ATen.h>
#include <benchmark/benchmark.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <chrono>

#include "lrqat/base/cpu.h"
#include "lrqat/nn/linear.h"
#include "lrqat/quant/lr_qat_weight.h"

namespace lrqat {
namespace {

constexpr std::int64_t kTokens = 1024;

double seconds(const std::function<void()>& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

void linear_ratio(benchmark::State& state) {
  const std::int64_t n = state.range(0), k = state.range(1);
  const bool half = state.range(2) == 16;
  const auto downcast = state.range(3) == 8 ? quant::Downcast::fixed_point8 : quant::Downcast::int4;
  quant::LrQatOptions options;
  options.grid = quant::Grid::signed_symmetric(4);
  options.downcast = downcast;
  const auto weight = quant::LrQatWeight::prepare("bench", at::randn({n, k}), options, {}, 1);
  const nn::Linear linear("bench", weight, {},
                          half ? quant::ComputeType::bfloat16 : quant::ComputeType::float32);
  at::Tensor x = at::randn({kTokens, k}).set_requires_grad(true);
  const at::Tensor grad = at::randn({kTokens, n});
  const auto type = half ? at::kBFloat16 : at::kFloat;
  const at::Tensor plain_x = x.detach().to(type), plain_w = at::randn({n, k}).to(type),
                   plain_grad = grad.to(type);
  double ours = 1e30, limit = 1e30;
  for (auto _ : state) {  // alternately, minima
    limit = std::min(limit, seconds([&] {
                       const at::Tensor y = at::mm(plain_x, plain_w.t()), dx = at::mm(plain_grad, plain_w);
                     }));
    ours = std::min(ours, seconds([&] { torch::autograd::backward({linear.forward(x)}, {grad}); }));
    x.mutable_grad() = at::Tensor();
    for (const auto& parameter : weight->parameters()) parameter.value.mutable_grad() = at::Tensor();
  }
  state.counters["ratio"] = ours / limit;
  state.counters["ms"] = ours * 1e3;
}

void shapes(benchmark::internal::Benchmark* bench) {
  for (const int bits : {32, 16}) {
    if (bits == 16 && !has_fast_bfloat16()) continue;
    for (const int phi : {8, 4}) {
      bench->Args({576, 1536, bits, phi})->Args({2048, 2048, bits, phi})->Args({4096, 11008, bits, phi});
    }
  }
}

BENCHMARK(linear_ratio)
    ->ArgNames({"N", "K", "compute_bits", "phi_bits"})
    ->Apply(shapes)
    ->Iterations(8)
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace lrqat

BENCHMARK_MAIN();
