#include "lrqat/ops/block_product.h"

#include <algorithm>
#include <atomic>

#include "lrqat/kernels/token_sums.h"
#include "lrqat/ops/block_core.h"
#include "lrqat/ops/cpu_backend.h"

namespace lrqat::ops {
namespace {

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
  ClippedCollector(ClippedEntries* clipped, std::int64_t lists) : clipped_(clipped) {
    if (clipped_ != nullptr) lists_.resize(lists);
  }
  // Once no thread appends any more.
  void close() {
    if (clipped_ == nullptr) return;
    clipped_->complete = count_.load() <= clipped_->most;
    if (!clipped_->complete) return;
    const auto count = static_cast<std::int64_t>(lists_.size());
    clipped_->entries = at::empty({count_.load(), 2}, at::TensorOptions(at::kInt));
    clipped_->list_ends = at::empty({count}, at::TensorOptions(at::kLong));
    auto* out = reinterpret_cast<kernels::ClippedEntry*>(clipped_->entries.mutable_data_ptr<std::int32_t>());
    auto* ends = clipped_->list_ends.mutable_data_ptr<std::int64_t>();
    std::int64_t end = 0;
    for (const auto& list : lists_) {
      std::copy(list.begin(), list.end(), out + end);
      *ends++ = end += static_cast<std::int64_t>(list.size());
    }
  }

  // Where the kernel appends a block's entries; null where they are not wanted.
  std::vector<kernels::ClippedEntry>* list(std::int64_t index) {
    return goes_on() ? &lists_[index] : nullptr;
  }
  void count_block(std::int64_t entries) { count_.fetch_add(entries, std::memory_order_relaxed); }
  void finish_list(std::int64_t index) {
    if (!goes_on()) return;
    auto& entries = lists_[index];
    std::sort(entries.begin(), entries.end(),
              [](const auto& a, const auto& b) { return a.row != b.row ? a.row < b.row : a.col < b.col; });
  }

 private:
  bool goes_on() const {
    return clipped_ != nullptr && count_.load(std::memory_order_relaxed) <= clipped_->most;
  }
  ClippedEntries* clipped_;
  std::vector<std::vector<kernels::ClippedEntry>> lists_;
  std::atomic<std::int64_t> count_{0};
};

// Makes a block of Ŵ and collects its clipped entries.
void make_block(const BlockSource& weight, std::int64_t n0, std::int64_t n1, std::int64_t k0, std::int64_t k1,
                kernels::TileOutput& output, ClippedCollector& collector, std::int64_t list) {
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

void block_multiply(const at::Tensor& x, const BlockSource& weight, const at::Tensor& y) {
  const std::int64_t tokens = x.size(0), n_all = weight.out_features(), k_all = weight.in_features();
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
      const std::int64_t depth = equal_piece(k_all, Types::kRows);
      auto* block = scratch(memory, depth / Types::kPack * width);
      for (std::int64_t k0 = 0; k0 < k_all; k0 += depth) {
        const std::int64_t k1 = std::min(k0 + depth, k_all);
        kernels::TileOutput output;
        set_output(block, width, /*transposed=*/true, output);
        weight.make(n0, n1, k0, k1, output);
        multiply_blocks<Types>(tokens, width, k1 - k0, left + k0, x_stride, block, width, out + n0, y_stride,
                               k0 > 0);
      }
      if (scales) scale_columns(out + n0, tokens, y_stride, width, scale + n0);
    });
  });
}

void block_multiply_transposed(const at::Tensor& grad, const BlockSource& weight, const at::Tensor& grad_x,
                               bool add, ClippedEntries* clipped) {
  const std::int64_t tokens = grad.size(0), n_all = weight.out_features(), k_all = weight.in_features();
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
      const std::int64_t depth = equal_piece(n_all, Types::kRows);
      auto* block = scratch(memory, depth / Types::kPack * width);
      for (std::int64_t n0 = 0; n0 < n_all; n0 += depth) {
        const std::int64_t n1 = std::min(n0 + depth, n_all);
        kernels::TileOutput output;
        set_output(block, width, /*transposed=*/false, output);
        make_block(weight, n0, n1, k0, k1, output, collector, k0 / piece);
        multiply_blocks<Types>(tokens, width, n1 - n0, left + n0, stride, block, width, out + k0, x_stride,
                               add || n0 > 0);
      }
      collector.finish_list(k0 / piece);
    });
  });
  collector.close();
}

namespace {

// bfloat16(x · scale), [T, N]; scale null: 1. x float32, contiguous.
at::Tensor scaled_to_bfloat16(const at::Tensor& x, const float* scale) {
  at::Tensor out = at::empty(x.sizes(), x.options().dtype(at::kBFloat16));
  const std::int64_t cols = x.size(-1);
  at::parallel_for(0, x.numel() / cols, 16, [&](std::int64_t begin, std::int64_t end) {
    kernels::scale_to_bfloat16(x.const_data_ptr<float>(), scale, begin, end, cols,
                               static_cast<std::uint16_t*>(out.mutable_data_ptr()));
  });
  return out;
}

class BlockOperand final : public StoredOperand {
 public:
  explicit BlockOperand(BlockSource source) : source_(std::move(source)) {}

  const at::Tensor& row_scale() const override { return source_.row_scale; }

  at::Tensor scaled_gradient(const at::Tensor& grad) const override {
    return scaled_to_bfloat16(grad, source_.row_scale.const_data_ptr<float>());
  }

  void multiply(const at::Tensor& x, const at::Tensor& out) const override {
    block_multiply(x, source_, out);
  }

  void multiply_transposed(const at::Tensor& grad, const at::Tensor& out, bool add,
                           ClippedEntries* clipped) const override {
    block_multiply_transposed(grad, source_, out, add, clipped);
  }

  std::shared_ptr<const StoredOperand> rows(std::int64_t row_begin, std::int64_t row_end) const override {
    return std::make_shared<BlockOperand>(BlockSource(source_.stored.rows(row_begin, row_end)));
  }

 private:
  BlockSource source_;
};

}  // namespace

at::Tensor CpuBackend::to_bfloat16(const at::Tensor& x) const {
  if (x.scalar_type() != at::kFloat || x.numel() == 0) return Backend::to_bfloat16(x);
  return scaled_to_bfloat16(x.contiguous(), nullptr);
}

std::shared_ptr<const StoredOperand> CpuBackend::stored_operand(const StoredWeight& weight,
                                                                ComputeType compute) const {
  if (!block_products(compute)) return nullptr;
  auto source = BlockSource::of(weight, compute);
  return source ? std::make_shared<BlockOperand>(std::move(*source)) : nullptr;
}

ClippedEntries find_clipped(const BlockSource& weight, std::int64_t most) {
  constexpr std::int64_t kRowsAtOnce = 256;  // between two looks at the count
  const std::int64_t n_all = weight.out_features(), k_all = weight.in_features();
  const std::int64_t piece = piece_size(k_all, kWidth);
  ClippedEntries clipped{most};
  ClippedCollector collector(&clipped, (k_all + piece - 1) / piece);
  for_pieces(
      k_all, piece,
      [&](std::int64_t k0, std::int64_t k1) {
        for (std::int64_t n0 = 0; n0 < n_all; n0 += kRowsAtOnce) {
          if (collector.list(k0 / piece) == nullptr) return;
          kernels::TileOutput output;
          make_block(weight, n0, std::min(n0 + kRowsAtOnce, n_all), k0, k1, output, collector, k0 / piece);
        }
        collector.finish_list(k0 / piece);
      },
      [] {});
  collector.close();
  return clipped;
}

}  // namespace lrqat::ops
