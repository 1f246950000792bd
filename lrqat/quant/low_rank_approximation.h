// The best approximation of a matrix by a product of rank R, and the LoftQ loop (arXiv 2310.08659) that
// starts adapters from the rounding residue (docs/method.md section 2). N rows, K columns, R rank.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>

namespace lrqat::quant {

// lora_scaling·left·right ≈ matrix; the square root of each singular value goes to either side.
struct LowRankFactors {
  at::Tensor left;   // [N, R]
  at::Tensor right;  // [R, K]
};

// Truncated singular value decomposition of matrix / lora_scaling, exact for small matrices, else by
// randomised subspace iteration (Halko, Martinsson, Tropp 2011) from `seed`. Where the matrix has fewer than
// R singular values, the rest of `left` is zero and of `right` Kaiming-uniform, so that every component can
// still be trained. matrix float32 [N, K].
LowRankFactors low_rank_approximation(const at::Tensor& matrix, std::int64_t rank, double lora_scaling,
                                      std::uint64_t seed);

struct ResidueStart {
  LowRankFactors factors;   // of the best step
  at::Tensor rounded_from;  // target - C of the step before: what round() made the best step's Q of
};

// LoftQ: C = 0; `steps` (1 or more) times Q = round(target - C), then C = γ·A·B from the residue target - Q.
// The step with the least ‖target - Q - C‖ counts: the first one is never farther from the target than
// rounding alone, later ones may be.
ResidueStart approximate_residue(const at::Tensor& target,
                                 const std::function<at::Tensor(const at::Tensor&)>& round, std::int64_t rank,
                                 double lora_scaling, int steps, std::uint64_t seed);

}  // namespace lrqat::quant
