// values += γ·A·B on raw memory, for methods that add the low-rank term to a weight in float (docs/method.md
// sections 3 and 4):
//
//     acc = Σ_r fma(A[n,r], B[r,k])                r ascending
//     values[n,k] = values[n,k] + γ·acc
//
// One accumulator an entry, so the bits do not depend on tile shape, threads or instruction set.
#pragma once

#include <cstdint>

namespace lrqat::kernels {

struct LowRankSum {
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  const float* lora_a = nullptr;  // [rows, rank], contiguous
  const float* lora_b = nullptr;  // [rank, cols], contiguous
  std::int64_t rank = 0;
  float lora_scaling = 1.0F;  // γ
};

void low_rank_sum(const LowRankSum& sum, float* values);  // values [rows, cols], contiguous
void low_rank_sum_ref(const LowRankSum& sum, float* values);

}  // namespace lrqat::kernels
