#include "lrqat/quant/low_rank_approximation.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <tuple>

#include "lrqat/base/error.h"
#include "lrqat/base/random.h"
#include "lrqat/quant/tile_math.h"

namespace lrqat::quant {
namespace {

constexpr std::int64_t kExactSize = 256;  // up to this smaller side the full decomposition is quick
constexpr int kPowerSteps = 4;            // residues of rounding have flat spectra: one step is not enough

struct Decomposition {
  at::Tensor u;  // [N, R]
  at::Tensor s;  // [R]
  at::Tensor v;  // [R, K]
};

// Standard normal numbers by Box and Muller.
at::Tensor normal_matrix(std::int64_t rows, std::int64_t cols, std::uint64_t seed) {
  at::Tensor out = at::empty({rows, cols}, at::kFloat);
  Random random(seed, /*stream=*/7);
  auto* values = out.mutable_data_ptr<float>();
  for (std::int64_t i = 0; i < out.numel(); ++i) {
    const double radius = std::sqrt(-2.0 * std::log(1.0 - random.uniform()));
    values[i] = static_cast<float>(radius * std::cos(2.0 * std::numbers::pi * random.uniform()));
  }
  return out;
}

at::Tensor orthonormal(const at::Tensor& columns) { return std::get<0>(at::linalg_qr(columns)); }

Decomposition exact(const at::Tensor& matrix, std::int64_t rank) {
  const auto [u, s, v] = at::linalg_svd(matrix, /*full_matrices=*/false);
  return {u.slice(1, 0, rank), s.slice(0, 0, rank), v.slice(0, 0, rank)};
}

Decomposition randomised(const at::Tensor& matrix, std::int64_t rank, std::int64_t width,
                         std::uint64_t seed) {
  const at::Tensor omega = normal_matrix(matrix.size(1), width, seed).to(matrix.device());
  at::Tensor range = orthonormal(at::mm(matrix, omega));
  for (int i = 0; i < kPowerSteps; ++i) {
    range = orthonormal(at::mm(matrix, orthonormal(at::mm(matrix.t(), range))));
  }
  const Decomposition small = exact(at::mm(range.t(), matrix), rank);
  return {at::mm(range, small.u), small.s, small.v};
}

}  // namespace

LowRankFactors low_rank_approximation(const at::Tensor& matrix, std::int64_t rank, double lora_scaling,
                                      std::uint64_t seed) {
  LRQAT_CHECK(matrix.dim() == 2 && matrix.scalar_type() == at::kFloat && lora_scaling > 0.0);
  const std::int64_t side = std::min(matrix.size(0), matrix.size(1)), found = std::min(rank, side);
  const std::int64_t width = 2 * found + 8;
  const bool small = side <= kExactSize || 2 * width >= side;
  const at::Tensor scaled = matrix / lora_scaling;
  const Decomposition parts = small ? exact(scaled, found) : randomised(scaled, found, width, seed);
  LowRankFactors factors{at::zeros({matrix.size(0), rank}, matrix.options()),
                         kaiming_uniform_rows(rank, matrix.size(1), seed).to(matrix.device())};
  const float largest = found > 0 ? parts.s[0].item<float>() : 0.0F;
  const at::Tensor live = parts.s.gt(1e-6F * largest);  // none where the matrix is zero
  const std::int64_t count = live.sum().item<std::int64_t>();
  const at::Tensor root = parts.s.slice(0, 0, count).sqrt();
  factors.left.slice(1, 0, count).copy_(parts.u.slice(1, 0, count) * root);
  factors.right.slice(0, 0, count).copy_(root.unsqueeze(1) * parts.v.slice(0, 0, count));
  return factors;
}

ResidueStart approximate_residue(const at::Tensor& target,
                                 const std::function<at::Tensor(const at::Tensor&)>& round, std::int64_t rank,
                                 double lora_scaling, int steps, std::uint64_t seed) {
  LRQAT_CHECK(steps >= 1);
  ResidueStart best, step{{}, target};
  double smallest = std::numeric_limits<double>::infinity();
  for (int i = 0; i < steps; ++i) {
    if (i > 0)
      step.rounded_from = at::addmm(target, step.factors.left, step.factors.right, 1.0, -lora_scaling);
    const at::Tensor residue = target - round(step.rounded_from);
    step.factors = low_rank_approximation(residue, rank, lora_scaling, seed);
    const double distance =
        at::addmm(residue, step.factors.left, step.factors.right, 1.0, -lora_scaling).norm().item<double>();
    if (i > 0 && !(distance < smallest)) continue;
    smallest = distance;
    best = step;
  }
  return best;
}

}  // namespace lrqat::quant
