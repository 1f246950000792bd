// What all products over blocks share: the product of two blocks, sizes, threads. For the .cpp files of this
// folder. The products are oneDNN's, through ATen: block_core.cpp is the only file that calls
// at::native::cpublas.
#pragma once

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "lrqat/ops/compute_type.h"

namespace lrqat::ops {

// A block of Ŵ is at most Types::kRows x kWidth (640 KiB) and is used for kTokens rows of the other operand
// at a time. Deep blocks keep the sums in registers: with AMX the products of SmolLM2's linears take 27 ms
// instead of 36 ms with blocks of 512 x 128; with AVX-512 and AVX2 the sizes matter little.
inline constexpr std::int64_t kWidth = 320, kTokens = 256;

// One product of blocks: c [m, n] = a [m, k] · b [k, n] (+ c), row-major with the strides given. Of bfloat16,
// b has pairs of rows in a 32-bit word and k is even. Where block_products() of the type.
void multiply_block(std::int64_t m, std::int64_t n, std::int64_t k, const float* a, std::int64_t lda,
                    const float* b, std::int64_t ldb, float* c, std::int64_t ldc, bool add);
void multiply_block(std::int64_t m, std::int64_t n, std::int64_t k, const at::BFloat16* a, std::int64_t lda,
                    const std::uint32_t* b, std::int64_t ldb, float* c, std::int64_t ldc, bool add);
// Gives back the calling thread's matrix tiles.
void release_block_product(bool bfloat16);

// The types of a product's operands.
template <ComputeType>
struct Operand;
template <>
struct Operand<ComputeType::float32> {
  using Left = float;
  using Right = float;
  static constexpr std::int64_t kPack = 1;    // rows of the right operand in one of its words
  static constexpr std::int64_t kRows = 512;  // of a block of Ŵ, at most
};
template <>
struct Operand<ComputeType::bfloat16> {
  using Left = at::BFloat16;
  using Right = std::uint32_t;
  static constexpr std::int64_t kPack = 2;
  static constexpr std::int64_t kRows = 1024;
};

template <typename Work>
auto with_operand(at::ScalarType type, const Work& work) {
  return type == at::kBFloat16 || type == at::kInt ? work(Operand<ComputeType::bfloat16>())
                                                   : work(Operand<ComputeType::float32>());
}

template <typename T>
const T* data_of(const at::Tensor& tensor) {
  return static_cast<const T*>(tensor.const_data_ptr());
}

// Work in equal pieces of at most `largest`, as many as the threads divide well: multiples of 32, which fill
// the matrix units, where one round of the threads more or two make that possible, else rounded up to 16.
inline std::int64_t piece_size(std::int64_t size, std::int64_t largest) {
  const std::int64_t threads = at::get_num_threads();
  const std::int64_t rounds = (size + threads * largest - 1) / (threads * largest);
  for (std::int64_t more = 0; more <= 2; ++more) {
    const std::int64_t pieces = threads * (rounds + more);
    if (size % (32 * pieces) == 0) return size / pieces;
  }
  const std::int64_t piece = (size + threads * rounds - 1) / (threads * rounds);
  return std::max<std::int64_t>((piece + 15) / 16 * 16, 16);
}

// Work in pieces of at most `largest`, a multiple of 32, that are as equal as multiples of 32 can be: a short
// last piece costs nearly as much as a full one.
inline std::int64_t equal_piece(std::int64_t size, std::int64_t largest) {
  const std::int64_t pieces = std::max<std::int64_t>((size + largest - 1) / largest, 1);
  return ((size + pieces - 1) / pieces + 31) / 32 * 32;
}

// work(begin, end) for the pieces of [0, size), each on one thread.
template <typename Work, typename End>
void for_pieces(std::int64_t size, std::int64_t piece, const Work& work, const End& end_of_thread) {
  at::parallel_for(0, (size + piece - 1) / piece, 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i) work(i * piece, std::min((i + 1) * piece, size));
    end_of_thread();
  });
}

// The same for work that multiplies blocks: a thread gives its matrix tiles back once, at its end.
template <typename Types, typename Work>
void for_product_pieces(std::int64_t size, std::int64_t piece, const Work& work) {
  for_pieces(size, piece, work, [] { release_block_product(Types::kPack == 2); });
}

// c [m, n] = a [m, k] · b [k, n] (+ c) of any size, block by block; strides as in multiply_block.
template <typename Types>
void multiply_blocks(std::int64_t m, std::int64_t n, std::int64_t k, const typename Types::Left* a,
                     std::int64_t lda, const typename Types::Right* b, std::int64_t ldb, float* c,
                     std::int64_t ldc, bool add) {
  const std::int64_t depth = equal_piece(k, Types::kRows);
  for (std::int64_t k0 = 0; k0 < k; k0 += depth) {
    for (std::int64_t m0 = 0; m0 < m; m0 += kTokens) {
      multiply_block(std::min(kTokens, m - m0), n, std::min(depth, k - k0), a + m0 * lda + k0, lda,
                     b + k0 / Types::kPack * ldb, ldb, c + m0 * ldc, ldc, add || k0 > 0);
    }
  }
}

template <typename T>
T* scratch(std::vector<T>& memory, std::int64_t size) {
  if (static_cast<std::int64_t>(memory.size()) < size) memory.resize(size);
  return memory.data();
}

// x in blocks of `width` columns, each the right operand of products, which walk down its rows. Rows that are
// a large power of two apart fall on the same lines of the first cache, so such columns are copied together.
std::vector<at::Tensor> column_panels(const at::Tensor& x, std::int64_t width);

}  // namespace lrqat::ops
