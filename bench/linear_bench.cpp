// One LR-QAT linear, forward and backward, against its own limit: the two matrix products that cannot be
// saved (y = x Wᵀ and dx = dy W, same shapes, same compute type), alternately in the same run, minima of
// both. Rank 32, and γAB so large that 0.5 % of the weights are clipped.
//
//     linear_bench [--quick] [--repeats R] [--only TEXT] [--out FILE] [--crossover]
//
// prints a table and saves [{shape, tokens, phi, granularity, learned_scale, compute_dtype,
// ratio_to_two_gemm, milliseconds, two_gemm_milliseconds, clipped_share}]. --crossover instead times the two
// forms of the backward pass (docs/method.md section 5) as more and more of the weights are clipped: {shape,
// compute_dtype, clipped_share, low_rank_milliseconds, blocks_milliseconds}.
#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "lrqat/base/cpu.h"
#include "lrqat/base/error.h"
#include "lrqat/methods/lr_qat_weight.h"
#include "lrqat/model/tensor_pool.h"
#include "lrqat/nn/linear.h"
#include "lrqat/ops/products.h"

namespace lrqat {
namespace {

constexpr double kClippedShare = 0.005;

struct Case {
  std::int64_t out_features, in_features, tokens;
  quant::Downcast downcast;
  std::int64_t group_size;  // 0: one scale a channel
  bool learned_scale;
  ops::ComputeType compute;
};

std::string granularity_name(const Case& c) {
  return c.group_size == 0 ? "channel" : concat("group:", c.group_size);
}

double seconds(const std::function<void()>& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// lora_a <- noise of the size at which the wanted share of the weights is clipped.
double clip_share(const methods::LrQatWeight& weight, double wanted) {
  at::Tensor lora_a = weight.parameters()[0].value.detach();
  const at::Tensor noise = at::randn_like(lora_a);
  double low = 0.0, high = 1e4, share = 0.0;
  for (int step = 0; step < 24; ++step) {
    const double size = (low + high) / 2;
    lora_a.copy_(noise).mul_(size);
    share = weight.convert().clipped_fraction;
    (share > wanted ? high : low) = size;
  }
  return share;
}

std::string name_of(const Case& c) {
  return concat(c.out_features, "x", c.in_features, " T=", c.tokens, " ", quant::downcast_name(c.downcast),
                " ", granularity_name(c), c.learned_scale ? " learned " : " frozen ",
                c.compute == ops::ComputeType::float32 ? "float32" : "bfloat16");
}

nlohmann::json measure(const Case& c, int repeats) {
  methods::LrQatOptions options;
  options.grid = quant::Grid::signed_symmetric(4);
  options.granularity = quant::Granularity::parse(granularity_name(c));
  options.downcast = c.downcast;
  options.lora_alpha = 32;
  options.scale.learn = c.learned_scale;
  const auto weight =
      methods::LrQatWeight::prepare("bench", at::randn({c.out_features, c.in_features}), options, {}, 1);
  const double clipped = clip_share(*weight, kClippedShare);
  const nn::Linear linear("bench", weight, {}, c.compute);
  at::Tensor x = at::randn({c.tokens, c.in_features}).set_requires_grad(true);
  const at::Tensor grad = at::randn({c.tokens, c.out_features});
  const auto type = c.compute == ops::ComputeType::bfloat16 ? at::kBFloat16 : at::kFloat;
  const at::Tensor plain_x = x.detach().to(type), plain_grad = grad.to(type);
  const at::Tensor plain_w = at::randn({c.out_features, c.in_features}).to(type);
  double ours = 1e30, limit = 1e30;
  for (int i = 0; i < repeats; ++i) {
    limit = std::min(limit, seconds([&] {
                       const at::Tensor y = at::mm(plain_x, plain_w.t()), dx = at::mm(plain_grad, plain_w);
                     }));
    ours = std::min(ours, seconds([&] { torch::autograd::backward({linear.forward(x)}, {grad}); }));
    x.mutable_grad() = at::Tensor();
    for (const auto& parameter : weight->parameters()) parameter.value.mutable_grad() = at::Tensor();
  }
  std::printf("%-58s %8.2f ms  limit %8.2f ms  ratio %.3f\n", name_of(c).c_str(), ours * 1e3, limit * 1e3,
              ours / limit);
  std::fflush(stdout);
  return {{"shape", {c.out_features, c.in_features}},
          {"tokens", c.tokens},
          {"phi", quant::downcast_name(c.downcast)},
          {"granularity", granularity_name(c)},
          {"learned_scale", c.learned_scale},
          {"compute_dtype", c.compute == ops::ComputeType::float32 ? "float32" : "bfloat16"},
          {"clipped_share", clipped},
          {"milliseconds", ours * 1e3},
          {"two_gemm_milliseconds", limit * 1e3},
          {"ratio_to_two_gemm", ours / limit}};
}

std::vector<Case> cases(bool quick) {
  using ops::ComputeType;
  using quant::Downcast;
  std::vector<Case> out;
  const std::vector<Downcast> every{Downcast::fixed_point8, Downcast::int4,    Downcast::bfloat16,
                                    Downcast::float16,      Downcast::float32, Downcast::integer};
  for (const ComputeType compute : {ComputeType::float32, ComputeType::bfloat16}) {
    if (compute == ComputeType::bfloat16 && !has_fast_bfloat16()) continue;
    for (const auto& [n, k] :
         {std::pair<std::int64_t, std::int64_t>{576, 1536}, {2048, 2048}, {4096, 11008}}) {
      for (const std::int64_t tokens : {256, 1024, 4096}) {
        for (const Downcast phi : every) {
          const bool main = phi == Downcast::fixed_point8;
          if (quick && (!main || tokens != 1024)) continue;
          if (!main && tokens != 1024) continue;
          out.push_back({n, k, tokens, phi, 0, true, compute});
          if (phi == Downcast::fixed_point8 || phi == Downcast::int4) {
            out.push_back({n, k, tokens, phi, 128, true, compute});
            out.push_back({n, k, tokens, phi, 128, false, compute});
          }
        }
      }
    }
  }
  return out;
}

// dx and the gradients of A, B and s without dL/dŴ, and with dL/dŴ in blocks, at growing shares of clipped
// weights.
nlohmann::json crossover(std::int64_t out_features, std::int64_t in_features, ops::ComputeType compute,
                         int repeats) {
  constexpr std::int64_t kTokens = 1024;
  methods::LrQatOptions options;
  options.grid = quant::Grid::signed_symmetric(4);
  options.downcast = quant::Downcast::fixed_point8;
  options.lora_alpha = 32;
  const auto weight =
      methods::LrQatWeight::prepare("bench", at::randn({out_features, in_features}), options, {}, 1);
  const bool narrow = compute == ops::ComputeType::bfloat16;
  const auto type = narrow ? at::kBFloat16 : at::kFloat;
  const at::Tensor x = at::randn({kTokens, in_features}), grad = at::randn({kTokens, out_features});
  nlohmann::json rows = nlohmann::json::array();
  for (const double share : {0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16}) {
    const double clipped_share = clip_share(*weight, share);
    const ops::WeightOperand factor(*weight, compute);
    const at::Tensor y = at::mm(x, weight->make_tile(0, out_features, ops::ComputeType::float32).values.t());
    const at::Tensor operand = factor.gradient_operand(grad), grad_x = at::empty_like(x);
    std::vector<at::Tensor> grads;
    for (const auto& parameter : weight->parameters()) grads.push_back(at::zeros_like(parameter.value));
    const at::Tensor input = x.to(type);
    double low_rank = 1e30, blocks = 1e30;
    for (int i = 0; i < repeats; ++i) {
      low_rank = std::min(low_rank, seconds([&] {
                            ops::ClippedEntries clipped;
                            factor.multiply_transposed(grad, operand, grad_x, false, &clipped);
                            weight->add_low_rank_gradient({input, grad, operand, y, &clipped}, grads, 1.0);
                          }));
      blocks = std::min(blocks, seconds([&] {
                          factor.multiply_transposed(grad, operand, grad_x, false);
                          weight->add_blockwise_gradient({input, grad, operand, y}, grads);
                        }));
    }
    std::printf("%ldx%ld %s, clipped %.2f %%: without dL/dW %.2f ms, with %.2f ms\n",
                static_cast<long>(out_features), static_cast<long>(in_features),
                narrow ? "bfloat16" : "float32", 100 * clipped_share, low_rank * 1e3, blocks * 1e3);
    std::fflush(stdout);
    rows.push_back({{"shape", {out_features, in_features}},
                    {"compute_dtype", narrow ? "bfloat16" : "float32"},
                    {"clipped_share", clipped_share},
                    {"low_rank_milliseconds", low_rank * 1e3},
                    {"blocks_milliseconds", blocks * 1e3}});
  }
  return rows;
}

nlohmann::json crossovers(int repeats) {
  nlohmann::json rows = nlohmann::json::array();
  for (const auto compute : {ops::ComputeType::float32, ops::ComputeType::bfloat16}) {
    if (!ops::block_products(compute)) continue;
    for (const auto& [n, k] : {std::pair<std::int64_t, std::int64_t>{576, 1536}, {2048, 2048}}) {
      for (auto& row : crossover(n, k, compute, repeats)) rows.push_back(row);
    }
  }
  return rows;
}

int run(int argc, char** argv) {
  model::pool_large_tensors();  // as the program does; at::mm's results too
  bool quick = false, crosses = false;
  int repeats = 5;
  std::string out, only;
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    if (flag == "--quick") {
      quick = true;
    } else if (flag == "--crossover") {
      crosses = true;
    } else if (i + 1 < argc && flag == "--repeats") {
      repeats = std::stoi(argv[++i]);
    } else if (i + 1 < argc && flag == "--out") {
      out = argv[++i];
    } else if (i + 1 < argc && flag == "--only") {
      only = argv[++i];
    } else {
      std::fprintf(stderr, "linear_bench [--quick] [--repeats R] [--only TEXT] [--out FILE] [--crossover]\n");
      return 2;
    }
  }
  nlohmann::json results = nlohmann::json::array();
  if (crosses) results = crossovers(repeats);
  for (const Case& c : crosses ? std::vector<Case>() : cases(quick)) {
    if (c.in_features % std::max<std::int64_t>(c.group_size, 1) != 0) continue;
    if (name_of(c).find(only) != std::string::npos) results.push_back(measure(c, repeats));
  }
  if (!out.empty()) std::ofstream(out) << results.dump(1) << "\n";
  return 0;
}

}  // namespace
}  // namespace lrqat

int main(int argc, char** argv) { return lrqat::run(argc, argv); }
