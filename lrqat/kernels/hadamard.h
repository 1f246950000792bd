// The Hadamard transform of a vector of n = small · power values seen as a matrix X [small, power]:
//     Y = Sᵀ·X·W / √n      transposed: Y = S·X·W / √n
// with S a Hadamard matrix of order `small` and W the Walsh–Hadamard matrix of order `power`, which is
// symmetric (hadamard_matrix.h). In other words y = x·(S ⊗ W) / √n, and both are orthogonal and each other's
// inverse. W costs log₂(power) additions a value, S `small` of them. Plain loops, compiled for several
// instruction sets (target.h); every instruction set gives the same bits.
#pragma once

#include <cstdint>

namespace lrqat::kernels {

struct HadamardTransform {
  const float* matrix = nullptr;  // S [small, small]; of the transposed transform Sᵀ
  std::int64_t small = 1;
  std::int64_t power = 1;
};

// out may not be x.
void hadamard_row(const float* x, const HadamardTransform& transform, float* out);
// The same by its definition, a sum over all n values for each, in double.
void hadamard_row_ref(const float* x, const HadamardTransform& transform, float* out);

}  // namespace lrqat::kernels
