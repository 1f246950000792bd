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

// A block of Ŵ of kDepth x kWidth floats, or twice as many rows of bfloat16 (128 KiB), stays in the second
// cache while all tokens pass, kTokens at a time. Of the sizes from 64 to 1024 that were tried on a CPU with
// AVX-512 these are among the fastest; the slowest took a fifth longer.
inline constexpr std::int64_t kWidth = 128, kDepth = 256, kTokens = 512;

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
  static constexpr std::int64_t kPack = 1;       // rows of the right operand in one of its words
  static constexpr std::int64_t kRows = kDepth;  // of a block of Ŵ
};
template <>
struct Operand<ComputeType::bfloat16> {
  using Left = at::BFloat16;
  using Right = std::uint32_t;
  static constexpr std::int64_t kPack = 2;
  static constexpr std::int64_t kRows = 2 * kDepth;
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

// Work in equal pieces of at most `largest`, rounded up to 16, as many as the threads divide well.
inline std::int64_t piece_size(std::int64_t size, std::int64_t largest) {
  const std::int64_t threads = at::get_num_threads();
  const std::int64_t rounds = (size + threads * largest - 1) / (threads * largest);
  const std::int64_t piece = (size + threads * rounds - 1) / (threads * rounds);
  return std::max<std::int64_t>((piece + 15) / 16 * 16, 16);
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

template <typename T>
T* scratch(std::vector<T>& memory, std::int64_t size) {
  if (static_cast<std::int64_t>(memory.size()) < size) memory.resize(size);
  return memory.data();
}

// x in blocks of `width` columns, each the right operand of products, which walk down its rows. Rows that are
// a large power of two apart fall on the same lines of the first cache, so such columns are copied together.
std::vector<at::Tensor> column_panels(const at::Tensor& x, std::int64_t width);

}  // namespace lrqat::ops
