// What the exact low-rank backward (docs/method.md section 5) does over the tokens besides matrix products,
// on raw memory. T tokens, N out_features, K in_features; float32 sums in blocks, so that the error does not
// grow with T.
#pragma once

#include <cstdint>

#include "lrqat/kernels/low_rank_tile.h"

namespace lrqat::kernels {

// sums[n] = Σ_t grad[t, n] · output[t, n] for n in [begin, end); both float32 [T, stride].
void column_products(const float* grad, const float* output, std::int64_t tokens, std::int64_t stride,
                     std::int64_t begin, std::int64_t end, float* sums);

// scaled[t, n] = bfloat16(grad[t, n] · scale[n]) for t in [begin, end); scale null: 1.
void scale_to_bfloat16(const float* grad, const float* scale, std::int64_t begin, std::int64_t end,
                       std::int64_t cols, std::uint16_t* scaled);

// Two rows in one: out[i, j] = in[2i, j] | in[2i + 1, j] << 16 for i in [begin, end); a missing last row
// counts as zeros. in bfloat16 [rows, cols].
void pair_rows(const std::uint16_t* in, std::int64_t rows, std::int64_t cols, std::int64_t begin,
               std::int64_t end, std::uint32_t* out);

// out[j, i] = in[i, j] for j in [begin, end): 32-bit words, in [rows, cols], out [cols, rows].
void transpose(const std::uint32_t* in, std::int64_t rows, std::int64_t cols, std::int64_t begin,
               std::int64_t end, std::uint32_t* out);

// Both in one pass: out[j, i] = in[2i, j] | in[2i + 1, j] << 16 for j in [begin, end), out [cols, ceil(rows /
// 2)].
void transpose_pairs(const std::uint16_t* in, std::int64_t rows, std::int64_t cols, std::int64_t begin,
                     std::int64_t end, std::uint32_t* out);

// g[i] = Σ_t grad[t, row of entry i] · x[t, col of entry i], from transposed matrices: grad [N, T], x [K, T],
// float32; or the same with tokens in bfloat16 pairs, [N, words] and [K, words].
void sampled_products(const ClippedEntry* entries, std::int64_t count, const float* grad, const float* x,
                      std::int64_t tokens, float* g);
void sampled_products_of_pairs(const ClippedEntry* entries, std::int64_t count, const std::uint32_t* grad,
                               const std::uint32_t* x, std::int64_t words, float* g);

}  // namespace lrqat::kernels
