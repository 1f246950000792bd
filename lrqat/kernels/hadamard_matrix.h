// Hadamard matrices: square, entries 1 and -1, rows that are orthogonal to each other, H·Hᵀ = n·I. Orders
// that are a power of two are Sylvester's (Walsh–Hadamard) matrices; the small orders beside them come from
// Paley's two constructions over the integers modulo a prime and from Williamson's of four circulant
// matrices.
#pragma once

#include <cstdint>
#include <vector>

namespace lrqat::kernels {

// A transform of n = small · power values: a Hadamard matrix of order `small` ⊗ the Walsh–Hadamard matrix of
// order `power`, a power of two. 576 = 36·16, 1536 = 12·128, 11008 = 172·64, 14336 = 28·512.
struct HadamardSize {
  std::int64_t small = 0, power = 0;  // 0: no matrix of this order is known here
};

// The split with the smallest `small`; 1 for powers of two.
HadamardSize hadamard_size(std::int64_t n);

// [order, order], row after row; empty where none is known here.
std::vector<float> hadamard_matrix(std::int64_t order);

}  // namespace lrqat::kernels
