// What the blocks of attention are made of, for block_attention.cpp alone: where they lie, and their
// operands.
#pragma once

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "lrqat/kernels/token_sums.h"
#include "lrqat/ops/block_core.h"

namespace lrqat::ops {

// Queries and keys of a block. Smaller blocks waste less on the diagonal, larger ones make better products.
inline constexpr std::int64_t kQueries = 64, kKeys = 128;

// Rows of all operands are padded with zeros to a multiple of this, so that the block products see few shapes
// (each is compiled once).
inline constexpr std::int64_t kPad = 16;

inline std::int64_t padded(std::int64_t n) { return (n + kPad - 1) / kPad * kPad; }

// A head of a [B, heads, rows, D] tensor.
struct Head {
  const float* data;
  std::int64_t stride;  // between rows

  Head(const at::Tensor& tensor, std::int64_t batch, std::int64_t head)
      : data(tensor.const_data_ptr<float>() + batch * tensor.stride(0) + head * tensor.stride(1)),
        stride(tensor.stride(2)) {}
};

// Rows [begin, end) of a head, times factor, contiguous and padded.
inline void copy_rows(const Head& head, std::int64_t begin, std::int64_t end, std::int64_t size, float factor,
                      float* out) {
  for (std::int64_t i = begin; i < end; ++i, out += size) {
    const float* row = head.data + i * head.stride;
    for (std::int64_t d = 0; d < size; ++d) out[d] = factor * row[d];
  }
  std::fill_n(out, (padded(end - begin) - (end - begin)) * size, 0.0F);
}

// out [cols, rows] = in [rows, cols] transposed.
inline void transpose(const float* in, std::int64_t rows, std::int64_t cols, float* out) {
  kernels::transpose(reinterpret_cast<const std::uint32_t*>(in), rows, cols, 0, cols,
                     reinterpret_cast<std::uint32_t*>(out));
}

// Contiguous float32 rows as operands of block products: as they are, or rounded to bfloat16.
template <typename Types>
class Matrix;

template <>
class Matrix<Operand<ComputeType::float32>> {
 public:
  void set(const float* x, std::int64_t rows, std::int64_t cols) { x_ = x, rows_ = rows, cols_ = cols; }
  void make_right() {}
  void make_columns() { transpose(x_, rows_, cols_, scratch(columns_, rows_ * cols_)); }

  const float* left(std::int64_t row = 0) const { return x_ + row * cols_; }
  const float* right(std::int64_t row = 0) const { return x_ + row * cols_; }
  const float* columns() const { return columns_.data(); }  // the right operand xᵀ

 private:
  const float* x_ = nullptr;
  std::int64_t rows_ = 0, cols_ = 0;
  std::vector<float> columns_;
};

template <>
class Matrix<Operand<ComputeType::bfloat16>> {
 public:
  // rows and cols are even where an operand's depth.
  void set(const float* x, std::int64_t rows, std::int64_t cols) {
    rows_ = rows, cols_ = cols;
    scratch(left_, rows * cols);
    kernels::scale_to_bfloat16(x, nullptr, 0, rows, cols, words());
  }
  void make_right() {
    kernels::pair_rows(words(), rows_, cols_, 0, rows_ / 2, scratch(right_, rows_ / 2 * cols_));
  }
  // A pair of a row is a word already.
  void make_columns() {
    kernels::transpose(reinterpret_cast<const std::uint32_t*>(left_.data()), rows_, cols_ / 2, 0, cols_ / 2,
                       scratch(columns_, cols_ / 2 * rows_));
  }

  const at::BFloat16* left(std::int64_t row = 0) const { return left_.data() + row * cols_; }
  const std::uint32_t* right(std::int64_t row = 0) const { return right_.data() + row / 2 * cols_; }
  const std::uint32_t* columns() const { return columns_.data(); }

 private:
  std::uint16_t* words() { return reinterpret_cast<std::uint16_t*>(left_.data()); }

  std::int64_t rows_ = 0, cols_ = 0;
  std::vector<at::BFloat16> left_;
  std::vector<std::uint32_t> right_, columns_;
};

// What a query may see, and where the blocks lie.
struct Geometry {
  std::int64_t batch, heads, kv_heads, queries, keys, head_dim, window;
  float scale;
  float cap;  // of the scores; 0: none

  Geometry(const at::Tensor& q, const at::Tensor& k, std::int64_t window_size, double softcap)
      : batch(q.size(0)),
        heads(q.size(1)),
        kv_heads(k.size(1)),
        queries(q.size(2)),
        keys(k.size(2)),
        head_dim(q.size(3)),
        window(window_size),
        scale(static_cast<float>(1.0 / std::sqrt(static_cast<double>(q.size(3))))),
        cap(static_cast<float>(softcap)) {}

  std::int64_t group() const { return heads / kv_heads; }
  std::int64_t query_blocks() const { return (queries + kQueries - 1) / kQueries; }
  std::int64_t block_end(std::int64_t begin) const { return std::min(begin + kQueries, queries); }
  // Keys [first_key(i), last_key(i)) of query i.
  std::int64_t last_key(std::int64_t query) const { return query + keys - queries + 1; }
  std::int64_t first_key(std::int64_t query) const {
    return window == 0 ? 0 : std::max<std::int64_t>(last_key(query) - window, 0);
  }
  // Keys of a block of queries, from a multiple of kPad.
  std::int64_t block_first_key(std::int64_t begin) const { return first_key(begin) / kPad * kPad; }
};

// The keys and values of one head in the forms that products want; made anew when the head changes.
template <typename Types>
class HeadKeys {
 public:
  Matrix<Types> keys, values;  // [padded K, D]

  // Whether it is another head than before.
  bool set(const Geometry& geometry, const at::Tensor& k, const at::Tensor& v, std::int64_t batch,
           std::int64_t kv_head) {
    const std::int64_t index = batch * geometry.kv_heads + kv_head;
    if (index == index_) return false;
    index_ = index;
    stride_ = padded(geometry.keys);
    const auto rows_of = [&](const at::Tensor& x, std::vector<float>& memory) {
      float* rows = scratch(memory, stride_ * geometry.head_dim);
      copy_rows(Head(x, batch, kv_head), 0, geometry.keys, geometry.head_dim, 1.0F, rows);
      return rows;
    };
    keys.set(rows_of(k, key_memory_), stride_, geometry.head_dim);
    values.set(rows_of(v, value_memory_), stride_, geometry.head_dim);
    return true;
  }
  void forget() { index_ = -1; }
  std::int64_t stride() const { return stride_; }  // padded K

 private:
  std::int64_t index_ = -1, stride_ = 0;
  std::vector<float> key_memory_, value_memory_;
};

}  // namespace lrqat::ops
