#include "lrqat/ops/block_attention.h"

#include <ATen/ATen.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "lrqat/base/error.h"
#include "lrqat/kernels/softmax_rows.h"
#include "lrqat/ops/attention_blocks.h"

namespace lrqat::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// One block of queries of one head: rows of out, [rows, D] with row stride out_stride, and log Σ exp of them.
template <typename Types>
void attend(const Geometry& geometry, const HeadKeys<Types>& head, const Head& q, std::int64_t begin,
            float* out, std::int64_t out_stride, float* lse) {
  thread_local std::vector<float> query_memory, score_memory, sum_memory;
  thread_local Matrix<Types> queries, weights;
  const std::int64_t end = geometry.block_end(begin), rows = padded(end - begin), size = geometry.head_dim;
  const std::int64_t first = geometry.block_first_key(begin), last = padded(geometry.last_key(end - 1));
  const std::int64_t width = last - first;
  copy_rows(q, begin, end, size, geometry.scale, scratch(query_memory, rows * size));
  queries.set(query_memory.data(), rows, size);
  float* scores = scratch(score_memory, rows * width);
  for (std::int64_t j = first; j < last; j += kKeys) {
    multiply_block(rows, std::min(kKeys, last - j), size, queries.left(), size, head.keys.columns() + j,
                   head.stride(), scores + j - first, width, false);
  }
  float inverse[kQueries];
  for (std::int64_t i = begin; i < end; ++i) {
    float* row = scores + (i - begin) * width;
    const std::int64_t visible = geometry.first_key(i) - first, visible_end = geometry.last_key(i) - first;
    std::fill_n(row, visible, 0.0F);
    if (geometry.cap > 0.0F) kernels::cap_scores(row + visible, visible_end - visible, geometry.cap, nullptr);
    const kernels::RunningLogSumExp sums = kernels::exponentials(row + visible, visible_end - visible);
    std::fill(row + visible_end, row + width, 0.0F);
    inverse[i - begin] = 1.0F / sums.sum;
    lse[i] = sums.maximum + std::log(sums.sum);
  }
  weights.set(scores, rows, width);
  float* mixed = scratch(sum_memory, rows * size);
  for (std::int64_t j = first; j < last; j += kKeys) {
    multiply_block(rows, size, std::min(kKeys, last - j), weights.left() + j - first, width,
                   head.values.right(j), size, mixed, size, j > first);
  }
  for (std::int64_t i = 0; i < end - begin; ++i) {
    for (std::int64_t d = 0; d < size; ++d) out[i * out_stride + d] = mixed[i * size + d] * inverse[i];
  }
}

// out [B, Q, heads, D] and log Σ exp [B, heads, Q].
template <typename Types>
std::pair<at::Tensor, at::Tensor> forward_blocks(const Geometry& geometry, const at::Tensor& q,
                                                 const at::Tensor& k, const at::Tensor& v) {
  at::Tensor out =
      at::empty({geometry.batch, geometry.queries, geometry.heads, geometry.head_dim}, q.options());
  at::Tensor lse = at::empty({geometry.batch, geometry.heads, geometry.queries}, q.options());
  auto* out_data = out.mutable_data_ptr<float>();
  auto* lse_data = lse.mutable_data_ptr<float>();
  const std::int64_t blocks = geometry.query_blocks(), stride = geometry.heads * geometry.head_dim;
  at::parallel_for(0, geometry.batch * geometry.heads * blocks, 1, [&](std::int64_t from, std::int64_t to) {
    thread_local HeadKeys<Types> keys;
    keys.forget();
    for (std::int64_t task = from; task < to; ++task) {
      const std::int64_t index = task / blocks, batch = index / geometry.heads, head = index % geometry.heads;
      const std::int64_t begin = task % blocks * kQueries;
      if (keys.set(geometry, k, v, batch, head / geometry.group())) {
        keys.keys.make_columns();
        keys.values.make_right();
      }
      attend(geometry, keys, Head(q, batch, head), begin,
             out_data + (batch * geometry.queries + begin) * stride + head * geometry.head_dim, stride,
             lse_data + index * geometry.queries);
    }
    release_block_product(Types::kPack == 2);
  });
  return {out, lse};
}

// Everything the gradient needs of one block of queries, padded rows zero.
template <typename Types>
struct QueryBlock {
  Matrix<Types> queries, grads;
  std::vector<float> query_memory, grad_memory, lse, delta, grad_queries;
  std::int64_t begin = 0, end = 0, rows = 0;

  // delta_i = dO_i · O_i, which is Σ_j P_ij dP_ij.
  void set(const Geometry& geometry, const Head& q, const Head& grad, const Head& out,
           const float* lse_of_head, std::int64_t first) {
    const std::int64_t size = geometry.head_dim;
    begin = first;
    end = geometry.block_end(first);
    rows = padded(end - begin);
    copy_rows(q, begin, end, size, geometry.scale, scratch(query_memory, rows * size));
    copy_rows(grad, begin, end, size, 1.0F, scratch(grad_memory, rows * size));
    queries.set(query_memory.data(), rows, size);
    grads.set(grad_memory.data(), rows, size);
    for (Matrix<Types>* matrix : {&queries, &grads}) {
      matrix->make_right();
      matrix->make_columns();
    }
    std::fill_n(scratch(grad_queries, rows * size), rows * size, 0.0F);
    lse.assign(rows, 0.0F);
    delta.assign(rows, 0.0F);
    for (std::int64_t i = 0; i < end - begin; ++i) {
      lse[i] = lse_of_head[begin + i];
      const float* o = out.data + (begin + i) * out.stride;
      float sum = 0.0F;
      for (std::int64_t d = 0; d < size; ++d) sum += grad_memory[i * size + d] * o[d];
      delta[i] = sum;
    }
  }
};

// p [keys, rows]: zero where a query does not see the key.
template <typename Types>
void hide(const Geometry& geometry, const QueryBlock<Types>& block, std::int64_t first_key, std::int64_t keys,
          float* p) {
  for (std::int64_t j = 0; j < keys; ++j) {
    const std::int64_t key = first_key + j, first = key - (geometry.keys - geometry.queries) - block.begin;
    float* row = p + j * block.rows;
    std::fill_n(row, std::clamp<std::int64_t>(first, 0, block.rows), 0.0F);
    if (geometry.window == 0) continue;
    const std::int64_t last = std::clamp<std::int64_t>(first + geometry.window, 0, block.rows);
    std::fill(row + last, row + block.rows, 0.0F);
  }
}

// Adds one block of queries' part to the gradients of keys and values, [padded K, D], and sets its own.
// With S and P transposed, [keys, queries]: dV += P dO, dP = V dOᵀ, dS = P (dP - delta), where scores are
// capped times 1 - tanh², dK += dS Q, dQ += dSᵀ K.
template <typename Types>
void add_block_gradient(const Geometry& geometry, const HeadKeys<Types>& head, QueryBlock<Types>& block,
                        float* grad_keys, float* grad_values) {
  thread_local std::vector<float> memory;
  thread_local Matrix<Types> factor;
  const std::int64_t size = geometry.head_dim, rows = block.rows;
  float* p = scratch(memory, 3 * kKeys * kQueries);
  float *dp = p + kKeys * kQueries, *dp_columns = dp + kKeys * kQueries, *slope = dp_columns;  // used in turn
  const std::int64_t last = padded(geometry.last_key(block.end - 1));
  for (std::int64_t j = geometry.block_first_key(block.begin); j < last; j += kKeys) {
    const std::int64_t keys = std::min(kKeys, last - j);
    multiply_block(keys, rows, size, head.keys.left(j), size, block.queries.columns(), rows, p, rows, false);
    multiply_block(keys, rows, size, head.values.left(j), size, block.grads.columns(), rows, dp, rows, false);
    if (geometry.cap > 0.0F) kernels::cap_scores(p, keys * rows, geometry.cap, slope);
    kernels::probabilities(p, keys, rows, block.lse.data());
    if (j + keys > geometry.last_key(block.begin) || geometry.window != 0) hide(geometry, block, j, keys, p);
    kernels::score_gradients(p, dp, keys, rows, block.delta.data());
    if (geometry.cap > 0.0F) kernels::multiply_elements(dp, slope, keys * rows);
    factor.set(p, keys, rows);
    multiply_block(keys, size, rows, factor.left(), rows, block.grads.right(), size, grad_values + j * size,
                   size, true);
    factor.set(dp, keys, rows);
    multiply_block(keys, size, rows, factor.left(), rows, block.queries.right(), size, grad_keys + j * size,
                   size, true);
    transpose(dp, keys, rows, dp_columns);
    factor.set(dp_columns, rows, keys);
    multiply_block(rows, size, keys, factor.left(), keys, head.keys.right(j), size, block.grad_queries.data(),
                   size, true);
  }
}

void write_rows(const float* rows, std::int64_t count, std::int64_t size, float factor, float* out,
                std::int64_t stride) {
  for (std::int64_t i = 0; i < count; ++i) {
    for (std::int64_t d = 0; d < size; ++d) out[i * stride + d] = factor * rows[i * size + d];
  }
}

struct Gradients {
  at::Tensor q, k, v;  // [B, rows, heads, D] in memory
};

// The sum of the rows of `heads` adjacent [padded K, D] matrices.
void sum_heads(const Geometry& geometry, const float* parts, std::int64_t heads, float* out,
               std::int64_t stride) {
  const std::int64_t size = geometry.head_dim, part = padded(geometry.keys) * size;
  write_rows(parts, geometry.keys, size, 1.0F, out, stride);
  for (std::int64_t head = 1; head < heads; ++head) {
    for (std::int64_t i = 0; i < geometry.keys; ++i) {
      const float* row = parts + head * part + i * size;
      for (std::int64_t d = 0; d < size; ++d) out[i * stride + d] += row[d];
    }
  }
}

template <typename Types>
Gradients backward_blocks(const Geometry& geometry, const at::Tensor& q, const at::Tensor& k,
                          const at::Tensor& v, const at::Tensor& out, const at::Tensor& lse,
                          const at::Tensor& grad) {
  const std::int64_t size = geometry.head_dim, keys = geometry.keys, queries = geometry.queries;
  Gradients grads{at::empty({geometry.batch, queries, geometry.heads, size}, q.options()),
                  at::empty({geometry.batch, keys, geometry.kv_heads, size}, q.options()),
                  at::empty({geometry.batch, keys, geometry.kv_heads, size}, q.options())};
  // What each head of queries gives to its keys and values; heads that share keys are added afterwards, so
  // that a few key heads keep many threads at work.
  const std::int64_t tasks = geometry.batch * geometry.heads, part = padded(keys) * size;
  const at::Tensor key_parts = at::zeros({tasks, part}, q.options()), value_parts = at::zeros_like(key_parts);
  auto* to_keys = key_parts.mutable_data_ptr<float>();
  auto* to_values = value_parts.mutable_data_ptr<float>();
  auto* grad_q = grads.q.mutable_data_ptr<float>();
  const auto* lse_data = lse.const_data_ptr<float>();
  const std::int64_t q_stride = geometry.heads * size, k_stride = geometry.kv_heads * size;
  at::parallel_for(0, tasks, 1, [&](std::int64_t from, std::int64_t to) {
    thread_local HeadKeys<Types> head_keys;
    thread_local QueryBlock<Types> block;
    head_keys.forget();
    for (std::int64_t task = from; task < to; ++task) {
      const std::int64_t batch = task / geometry.heads, head = task % geometry.heads;
      if (head_keys.set(geometry, k, v, batch, head / geometry.group())) head_keys.keys.make_right();
      for (std::int64_t begin = 0; begin < queries; begin += kQueries) {
        block.set(geometry, Head(q, batch, head), Head(grad, batch, head), Head(out, batch, head),
                  lse_data + task * queries, begin);
        add_block_gradient(geometry, head_keys, block, to_keys + task * part, to_values + task * part);
        write_rows(block.grad_queries.data(), block.end - begin, size, geometry.scale,
                   grad_q + (batch * queries + begin) * q_stride + head * size, q_stride);
      }
    }
    release_block_product(Types::kPack == 2);
  });
  auto* grad_k = grads.k.mutable_data_ptr<float>();
  auto* grad_v = grads.v.mutable_data_ptr<float>();
  at::parallel_for(0, geometry.batch * geometry.kv_heads, 1, [&](std::int64_t from, std::int64_t to) {
    for (std::int64_t i = from; i < to; ++i) {
      const std::int64_t first = i * geometry.group() * part;
      const std::int64_t at = i / geometry.kv_heads * keys * k_stride + i % geometry.kv_heads * size;
      sum_heads(geometry, to_keys + first, geometry.group(), grad_k + at, k_stride);
      sum_heads(geometry, to_values + first, geometry.group(), grad_v + at, k_stride);
    }
  });
  return grads;
}

// Rows of D adjacent numbers, which the blocks are read by.
at::Tensor with_adjacent_rows(const at::Tensor& x) { return x.stride(3) == 1 ? x : x.contiguous(); }

class BlockAttentionFunction : public torch::autograd::Function<BlockAttentionFunction> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& q, const at::Tensor& k,
                            const at::Tensor& v, std::int64_t window, double softcap, bool bfloat16) {
    RECORD_USER_SCOPE("attention");
    const Geometry geometry(q, k, window, softcap);
    const auto [rows, lse] = with_operand(bfloat16 ? at::kBFloat16 : at::kFloat, [&](auto types) {
      return forward_blocks<decltype(types)>(geometry, q, k, v);
    });
    const at::Tensor out = rows.transpose(1, 2);
    context->save_for_backward({q, k, v, out, lse});
    context->saved_data["window"] = window;
    context->saved_data["softcap"] = softcap;
    context->saved_data["bfloat16"] = bfloat16;
    return out;
  }

  static variable_list backward(AutogradContext* context, variable_list grad_outputs) {
    RECORD_USER_SCOPE("attention, backward");
    const variable_list saved = context->get_saved_variables();
    const Geometry geometry(saved[0], saved[1], context->saved_data["window"].toInt(),
                            context->saved_data["softcap"].toDouble());
    const bool bfloat16 = context->saved_data["bfloat16"].toBool();
    const Gradients grads = with_operand(bfloat16 ? at::kBFloat16 : at::kFloat, [&](auto types) {
      return backward_blocks<decltype(types)>(geometry, saved[0], saved[1], saved[2], saved[3], saved[4],
                                              with_adjacent_rows(grad_outputs[0]));
    });
    return {grads.q.transpose(1, 2), grads.k.transpose(1, 2), grads.v.transpose(1, 2), {}, {}, {}};
  }
};

}  // namespace

bool has_block_attention(const at::Tensor& q) {
  constexpr std::int64_t kFewQueries = 8;
  return q.scalar_type() == at::kFloat && q.size(2) > kFewQueries && block_products(ComputeType::float32);
}

at::Tensor block_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, std::int64_t window,
                           double softcap, ComputeType compute) {
  LRQAT_CHECK(k.size(2) >= q.size(2) && q.size(1) % k.size(1) == 0 && k.sizes() == v.sizes());
  const bool bfloat16 = compute == ComputeType::bfloat16 && q.size(3) % 2 == 0 && block_products(compute);
  return BlockAttentionFunction::apply(with_adjacent_rows(q), with_adjacent_rows(k), with_adjacent_rows(v),
                                       window >= k.size(2) ? 0 : window, softcap, bfloat16);
}

}  // namespace lrqat::ops
