#include "lrqat/ops/block_product.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/native/CPUBlas.h>

#include <algorithm>
#include <atomic>

#include "lrqat/base/cpu.h"
#include "lrqat/kernels/token_sums.h"

namespace lrqat::ops {
namespace {

// A block of Ŵ of kDepth x kWidth floats, or twice as many rows of bfloat16 (128 KiB), stays in the second
// cache while all tokens pass, kTokens at a time. Of the sizes from 64 to 1024 that were tried on a CPU with
// AVX-512 these are among the fastest; the slowest took a fifth longer.
constexpr std::int64_t kWidth = 128, kDepth = 256, kTokens = 512;

std::atomic<bool> allowed{true};

// One product of blocks: c = a · b (+ c). Of bfloat16, b has pairs of rows in a 32-bit word and k is even.
void product(std::int64_t m, std::int64_t n, std::int64_t k, const float* a, std::int64_t lda, const float* b,
             std::int64_t ldb, float* c, std::int64_t ldc, bool add) {
  at::native::cpublas::brgemm(m, n, k, lda, ldb, ldc, add, a, b, c, /*is_vnni=*/false);
}

void product(std::int64_t m, std::int64_t n, std::int64_t k, const at::BFloat16* a, std::int64_t lda,
             const std::uint32_t* b, std::int64_t ldb, float* c, std::int64_t ldc, bool add) {
  at::native::cpublas::brgemm(m, n, k, lda, ldb, ldc, add, a, reinterpret_cast<const at::BFloat16*>(b), c,
                              /*is_vnni=*/true);
}

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

// [1 2; 3 4] in both operands; another layout than ours, or another product, gives other numbers.
bool works(ComputeType compute) {
  try {
    float c[4] = {};
    if (compute == ComputeType::float32) {
      const float a[4] = {1, 2, 3, 4};
      product(2, 2, 2, a, 2, a, 2, c, 2, false);
    } else {
      const at::BFloat16 a[4] = {1.0F, 2.0F, 3.0F, 4.0F};
      const std::uint32_t b[2] = {0x40403f80U, 0x40804000U};  // 1 and 3, 2 and 4
      product(2, 2, 2, a, 2, b, 2, c, 2, false);
    }
    return c[0] == 7.0F && c[1] == 10.0F && c[2] == 15.0F && c[3] == 22.0F;
  } catch (const std::exception&) {
    return false;
  }
}

// Work in equal pieces of at most `largest`, rounded up to 16, as many as the threads divide well.
std::int64_t piece_size(std::int64_t size, std::int64_t largest) {
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
  for_pieces(size, piece, work, [] { at::native::cpublas::brgemm_release(Types::kPack == 2); });
}

template <typename T>
T* scratch(std::vector<T>& memory, std::int64_t size) {
  if (static_cast<std::int64_t>(memory.size()) < size) memory.resize(size);
  return memory.data();
}

// x in blocks of `width` columns, each the right operand of products, which walk down its rows. Rows that lie
// a large power of two apart fall on the same lines of the first cache, so such columns are copied together.
std::vector<at::Tensor> column_panels(const at::Tensor& x, std::int64_t width) {
  constexpr std::int64_t kAliasing = 2048;  // bytes
  const bool copies = x.stride(0) * x.element_size() % kAliasing == 0 && x.size(1) > width;
  std::vector<at::Tensor> panels((x.size(1) + width - 1) / width);
  at::parallel_for(0, static_cast<std::int64_t>(panels.size()), 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const at::Tensor panel = x.narrow(1, i * width, std::min(width, x.size(1) - i * width));
      panels[i] = copies ? panel.contiguous() : panel;
    }
  });
  return panels;
}

void set_output(float* block, std::int64_t stride, bool transposed, kernels::TileOutput& output) {
  if (transposed) {
    output.transposed = block;
    output.transposed_stride = stride;
  } else {
    output.values = block;
    output.values_stride = stride;
  }
}

void set_output(std::uint32_t* block, std::int64_t stride, bool transposed, kernels::TileOutput& output) {
  (transposed ? output.transposed_pairs : output.row_pairs) = block;
  (transposed ? output.transposed_stride : output.row_pairs_stride) = stride;
}

// Fills lists from several threads, each its own, until there are more entries than are wanted.
class ClippedCollector {
 public:
  // clipped may be null: nothing is wanted.
  ClippedCollector(ClippedLists* clipped, std::int64_t lists) : clipped_(clipped) {
    if (clipped_ != nullptr) clipped_->lists.assign(lists, {});
  }
  // Once no thread appends any more.
  void close() {
    if (clipped_ == nullptr) return;
    clipped_->complete = count_.load() <= clipped_->most;
    if (!clipped_->complete) clipped_->lists.clear();
  }

  // Where the kernel appends a block's entries; null where they are not wanted.
  std::vector<kernels::ClippedEntry>* list(std::int64_t index) const {
    return goes_on() ? &clipped_->lists[index] : nullptr;
  }
  void count_block(std::int64_t entries) { count_.fetch_add(entries, std::memory_order_relaxed); }
  void finish_list(std::int64_t index) const {
    if (!goes_on()) return;
    auto& entries = clipped_->lists[index];
    std::sort(entries.begin(), entries.end(),
              [](const auto& a, const auto& b) { return a.row != b.row ? a.row < b.row : a.col < b.col; });
  }

 private:
  bool goes_on() const {
    return clipped_ != nullptr && count_.load(std::memory_order_relaxed) <= clipped_->most;
  }
  ClippedLists* clipped_;
  std::atomic<std::int64_t> count_{0};
};

// Makes a block of Ŵ and collects its clipped entries.
void make_block(const OperandSource& weight, std::int64_t n0, std::int64_t n1, std::int64_t k0,
                std::int64_t k1, kernels::TileOutput& output, ClippedCollector& collector,
                std::int64_t list) {
  output.clipped_entries = collector.list(list);
  const std::size_t before = output.clipped_entries != nullptr ? output.clipped_entries->size() : 0;
  weight.make(n0, n1, k0, k1, output);
  if (output.clipped_entries != nullptr)
    collector.count_block(static_cast<std::int64_t>(output.clipped_entries->size() - before));
}

void scale_columns(float* values, std::int64_t rows, std::int64_t stride, std::int64_t cols,
                   const float* scale) {
  for (std::int64_t t = 0; t < rows; ++t) {
    for (std::int64_t j = 0; j < cols; ++j) values[t * stride + j] *= scale[j];
  }
}

}  // namespace

bool block_products(ComputeType compute) {
  static const bool float32 = works(ComputeType::float32);
  static const bool bfloat16 = has_fast_bfloat16() && works(ComputeType::bfloat16);
  return allowed.load(std::memory_order_relaxed) && (compute == ComputeType::float32 ? float32 : bfloat16);
}

ComputeType compute_of(const at::Tensor& operand) {
  return operand.scalar_type() == at::kBFloat16 ? ComputeType::bfloat16 : ComputeType::float32;
}

void allow_block_products(bool allow) { allowed.store(allow); }

at::Tensor block_multiply(const at::Tensor& x, const OperandSource& weight) {
  at::Tensor y = at::empty({x.size(0), weight.weight.rows}, x.options().dtype(at::kFloat));
  block_multiply_out(x, weight, y);
  return y;
}

void block_multiply_out(const at::Tensor& x, const OperandSource& weight, const at::Tensor& y) {
  const std::int64_t tokens = x.size(0), n_all = weight.weight.rows, k_all = weight.weight.cols;
  const std::int64_t x_stride = x.stride(0), y_stride = y.stride(0);
  auto* out = y.mutable_data_ptr<float>();
  with_operand(x.scalar_type(), [&](auto types) {
    using Types = decltype(types);
    const bool scales = Types::kPack == 2 && weight.row_scale.defined();
    const float* scale = scales ? weight.row_scale.const_data_ptr<float>() : nullptr;
    const auto* left = data_of<typename Types::Left>(x);
    for_product_pieces<Types>(n_all, piece_size(n_all, kWidth), [&](std::int64_t n0, std::int64_t n1) {
      thread_local std::vector<typename Types::Right> memory;
      const std::int64_t width = n1 - n0;
      auto* block = scratch(memory, Types::kRows / Types::kPack * width);
      for (std::int64_t k0 = 0; k0 < k_all; k0 += Types::kRows) {
        const std::int64_t k1 = std::min(k0 + Types::kRows, k_all);
        kernels::TileOutput output;
        set_output(block, width, /*transposed=*/true, output);
        weight.make(n0, n1, k0, k1, output);
        for (std::int64_t t = 0; t < tokens; t += kTokens) {
          const std::int64_t rows = std::min(kTokens, tokens - t);
          float* c = out + t * y_stride + n0;
          product(rows, width, k1 - k0, left + t * x_stride + k0, x_stride, block, width, c, y_stride,
                  k0 > 0);
          if (scales && k1 == k_all) scale_columns(c, rows, y_stride, width, scale + n0);
        }
      }
    });
  });
}

at::Tensor block_multiply_transposed(const at::Tensor& grad, const OperandSource& weight,
                                     ClippedLists* clipped) {
  at::Tensor grad_x = at::empty({grad.size(0), weight.weight.cols}, grad.options().dtype(at::kFloat));
  block_multiply_transposed_out(grad, weight, grad_x, false, clipped);
  return grad_x;
}

void block_multiply_transposed_out(const at::Tensor& grad, const OperandSource& weight,
                                   const at::Tensor& grad_x, bool add, ClippedLists* clipped) {
  const std::int64_t tokens = grad.size(0), n_all = weight.weight.rows, k_all = weight.weight.cols;
  const std::int64_t stride = grad.stride(0), x_stride = grad_x.stride(0);
  auto* out = grad_x.mutable_data_ptr<float>();
  const std::int64_t piece = piece_size(k_all, kWidth);
  ClippedCollector collector(clipped, (k_all + piece - 1) / piece);
  with_operand(grad.scalar_type(), [&](auto types) {
    using Types = decltype(types);
    const auto* left = data_of<typename Types::Left>(grad);
    for_product_pieces<Types>(k_all, piece, [&](std::int64_t k0, std::int64_t k1) {
      thread_local std::vector<typename Types::Right> memory;
      const std::int64_t width = k1 - k0;
      auto* block = scratch(memory, Types::kRows / Types::kPack * width);
      for (std::int64_t n0 = 0; n0 < n_all; n0 += Types::kRows) {
        const std::int64_t n1 = std::min(n0 + Types::kRows, n_all);
        kernels::TileOutput output;
        set_output(block, width, /*transposed=*/false, output);
        make_block(weight, n0, n1, k0, k1, output, collector, k0 / piece);
        for (std::int64_t t = 0; t < tokens; t += kTokens) {
          product(std::min(kTokens, tokens - t), width, n1 - n0, left + t * stride + n0, stride, block, width,
                  out + t * x_stride + k0, x_stride, add || n0 > 0);
        }
      }
      collector.finish_list(k0 / piece);
    });
  });
  collector.close();
}

ClippedLists clipped_entries(const OperandSource& weight, std::int64_t most) {
  const std::int64_t n_all = weight.weight.rows, k_all = weight.weight.cols;
  const std::int64_t piece = piece_size(k_all, kWidth);
  ClippedLists clipped{most};
  ClippedCollector collector(&clipped, (k_all + piece - 1) / piece);
  for_pieces(
      k_all, piece,
      [&](std::int64_t k0, std::int64_t k1) {
        for (std::int64_t n0 = 0; n0 < n_all; n0 += kDepth) {
          if (collector.list(k0 / piece) == nullptr) return;
          kernels::TileOutput output;
          make_block(weight, n0, std::min(n0 + kDepth, n_all), k0, k1, output, collector, k0 / piece);
        }
        collector.finish_list(k0 / piece);
      },
      [] {});
  collector.close();
  return clipped;
}

const at::Tensor& OperandForms::rows() {
  if (!rows_.defined()) rows_ = rows_operand(x_);
  return rows_;
}

const at::Tensor& OperandForms::columns() {
  if (!columns_.defined()) columns_ = columns_operand(x_);
  return columns_;
}

at::Tensor rows_operand(const at::Tensor& x) {
  if (x.scalar_type() == at::kFloat) return x;
  const std::int64_t rows = x.size(0), cols = x.size(1), words = (rows + 1) / 2;
  at::Tensor pairs = at::empty({words, cols}, x.options().dtype(at::kInt));
  at::parallel_for(0, words, 8, [&](std::int64_t begin, std::int64_t end) {
    kernels::pair_rows(data_of<std::uint16_t>(x), rows, cols, begin, end,
                       static_cast<std::uint32_t*>(pairs.mutable_data_ptr()));
  });
  return pairs;
}

at::Tensor columns_operand(const at::Tensor& x) {
  const bool pairs = x.scalar_type() == at::kBFloat16;
  const std::int64_t rows = x.size(0), cols = x.size(1);
  at::Tensor columns =
      at::empty({cols, pairs ? (rows + 1) / 2 : rows}, x.options().dtype(pairs ? at::kInt : at::kFloat));
  auto* out = static_cast<std::uint32_t*>(columns.mutable_data_ptr());
  at::parallel_for(0, (cols + 63) / 64, 1, [&](std::int64_t first, std::int64_t last) {
    const std::int64_t begin = first * 64, end = std::min(last * 64, cols);
    if (pairs) {
      kernels::transpose_pairs(data_of<std::uint16_t>(x), rows, cols, begin, end, out);
    } else {
      kernels::transpose(data_of<std::uint32_t>(x), rows, cols, begin, end, out);
    }
  });
  return columns;
}

at::Tensor multiply_small(const at::Tensor& x, const at::Tensor& small) {
  const std::int64_t tokens = x.size(0), k_all = x.size(1), rank = small.size(1), x_stride = x.stride(0);
  if (!block_products(compute_of(x))) return at::mm(x, small.to(x.scalar_type())).to(at::kFloat);
  const at::Tensor right = rows_operand(small.to(x.scalar_type()).contiguous());
  at::Tensor product_of = at::empty({tokens, rank}, x.options().dtype(at::kFloat));
  auto* out = product_of.mutable_data_ptr<float>();
  with_operand(x.scalar_type(), [&](auto types) {
    using Types = decltype(types);
    const auto* left = data_of<typename Types::Left>(x);
    const auto* b = data_of<typename Types::Right>(right);
    for_product_pieces<Types>(tokens, piece_size(tokens, kTokens), [&](std::int64_t t0, std::int64_t t1) {
      for (std::int64_t k0 = 0; k0 < k_all; k0 += 2 * kDepth) {
        for (std::int64_t r0 = 0; r0 < rank; r0 += kWidth) {
          product(t1 - t0, std::min(kWidth, rank - r0), std::min(2 * kDepth, k_all - k0),
                  left + t0 * x_stride + k0, x_stride, b + k0 / Types::kPack * rank + r0, rank,
                  out + t0 * rank + r0, rank, k0 > 0);
        }
      }
    });
  });
  return product_of;
}

namespace {

// Left operand xᵀ, right operand small.
at::Tensor multiply_columns(const at::Tensor& columns, const at::Tensor& small) {
  using Types = Operand<ComputeType::bfloat16>;
  const std::int64_t k_all = columns.size(0), rank = small.size(1), tokens = columns.size(1) * Types::kPack;
  const auto panels = column_panels(rows_operand(small.to(at::kBFloat16)), kWidth);
  at::Tensor sum = at::empty({k_all, rank}, small.options().dtype(at::kFloat));
  auto* out = sum.mutable_data_ptr<float>();
  const auto* left = data_of<Types::Left>(columns);
  for_product_pieces<Types>(k_all, piece_size(k_all, kWidth), [&](std::int64_t k0, std::int64_t k1) {
    for (std::int64_t t = 0; t < tokens; t += 2 * kDepth) {
      for (std::int64_t r0 = 0; r0 < rank; r0 += kWidth) {
        const at::Tensor& panel = panels[r0 / kWidth];
        product(k1 - k0, panel.size(1), std::min(2 * kDepth, tokens - t), left + k0 * tokens + t, tokens,
                data_of<Types::Right>(panel) + t / Types::kPack * panel.stride(0), panel.stride(0),
                out + k0 * rank + r0, rank, t > 0);
      }
    }
  });
  return sum;
}

// Left operand smallᵀ, right operand x: no transposition of x.
at::Tensor multiply_rows(const at::Tensor& x, const at::Tensor& small) {
  using Types = Operand<ComputeType::float32>;
  const std::int64_t k_all = x.size(1), rank = small.size(1), tokens = x.size(0);
  const at::Tensor left = small.t().contiguous();
  const std::int64_t piece = piece_size(k_all, kWidth);
  const auto panels = column_panels(x, piece);
  at::Tensor sum = at::empty({rank, k_all}, small.options());
  auto* out = sum.mutable_data_ptr<float>();
  for_product_pieces<Types>(k_all, piece, [&](std::int64_t k0, std::int64_t k1) {
    const at::Tensor& panel = panels[k0 / piece];
    for (std::int64_t t = 0; t < tokens; t += kDepth) {
      product(rank, k1 - k0, std::min(kDepth, tokens - t), left.const_data_ptr<float>() + t, tokens,
              panel.const_data_ptr<float>() + t * panel.stride(0), panel.stride(0), out + k0, k_all, t > 0);
    }
  });
  return sum.t().contiguous();
}

}  // namespace

at::Tensor multiply_transposed_small(const at::Tensor& x, const at::Tensor& columns,
                                     const at::Tensor& small) {
  if (x.scalar_type() == at::kBFloat16) return multiply_columns(columns, small);
  return block_products(ComputeType::float32) ? multiply_rows(x, small) : at::mm(x.t(), small);
}

void for_each_gradient_block(const at::Tensor& grad_columns, const at::Tensor& x_rows,
                             std::int64_t in_features, std::int64_t col_multiple,
                             const std::function<void(const GradientBlock&)>& visit) {
  const std::int64_t n_all = grad_columns.size(0), k_all = in_features;
  const std::int64_t cols = std::max<std::int64_t>(kDepth / col_multiple, 1) * col_multiple;
  with_operand(x_rows.scalar_type(), [&](auto types) {
    using Types = decltype(types);
    const std::int64_t tokens = grad_columns.size(1) * Types::kPack;
    const auto* a = data_of<typename Types::Left>(grad_columns);
    const auto panels = column_panels(x_rows, cols);
    for_product_pieces<Types>(n_all, piece_size(n_all, kWidth), [&](std::int64_t n0, std::int64_t n1) {
      std::vector<float> memory((n1 - n0) * std::min(cols, k_all));
      for (std::int64_t k0 = 0; k0 < k_all; k0 += cols) {
        const std::int64_t k1 = std::min(k0 + cols, k_all), width = k1 - k0;
        const at::Tensor& panel = panels[k0 / cols];
        const auto* b = data_of<typename Types::Right>(panel);
        for (std::int64_t t = 0; t < tokens; t += kDepth) {
          product(n1 - n0, width, std::min(kDepth, tokens - t), a + n0 * tokens + t, tokens,
                  b + t / Types::kPack * panel.stride(0), panel.stride(0), memory.data(), width, t > 0);
        }
        visit({n0, n1, k0, k1, memory.data()});
      }
    });
  });
}

GradientRows::GradientRows(const at::Tensor& grad, const at::Tensor& x_rows)
    : columns_(columns_operand(grad)), panels_(column_panels(x_rows, kWidth)), in_features_(x_rows.size(1)) {}

at::Tensor GradientRows::rows(std::int64_t begin, std::int64_t end) const {
  at::Tensor out = at::empty({end - begin, in_features_}, at::TensorOptions(at::kFloat));
  with_operand(panels_.front().scalar_type(), [&](auto types) {
    using Types = decltype(types);
    const std::int64_t tokens = columns_.size(1) * Types::kPack;
    const auto* a = data_of<typename Types::Left>(columns_) + begin * tokens;
    auto* c = out.mutable_data_ptr<float>();
    for_product_pieces<Types>(in_features_, kWidth, [&](std::int64_t k0, std::int64_t) {
      const at::Tensor& panel = panels_[k0 / kWidth];
      const auto* b = data_of<typename Types::Right>(panel);
      for (std::int64_t t = 0; t < tokens; t += kDepth) {
        product(end - begin, panel.size(1), std::min(kDepth, tokens - t), a + t, tokens,
                b + t / Types::kPack * panel.stride(0), panel.stride(0), c + k0, in_features_, t > 0);
      }
    });
  });
  return out;
}

void small_block_product(std::int64_t m, std::int64_t n, std::int64_t k, const float* a, std::int64_t lda,
                         const float* b, std::int64_t ldb, float* c, std::int64_t ldc, bool add) {
  product(m, n, k, a, lda, b, ldb, c, ldc, add);
}

}  // namespace lrqat::ops
