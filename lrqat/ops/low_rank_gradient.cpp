#include "lrqat/ops/low_rank_gradient.h"

#include "lrqat/kernels/low_rank_tile.h"
#include "lrqat/kernels/token_sums.h"
#include "lrqat/ops/block_core.h"
#include "lrqat/ops/block_product.h"
#include "lrqat/ops/cpu_backend.h"

namespace lrqat::ops {
namespace {

// Σ_t dy·y of every column, float32 [N].
at::Tensor column_products(const at::Tensor& grad, const at::Tensor& output) {
  const std::int64_t n = grad.size(1);
  at::Tensor sums = at::empty({n}, grad.options());
  const at::Tensor y = output.contiguous();
  at::parallel_for(0, (n + 63) / 64, 1, [&](std::int64_t begin, std::int64_t end) {
    kernels::column_products(grad.const_data_ptr<float>(), y.const_data_ptr<float>(), grad.size(0), n,
                             begin * 64, std::min(end * 64, n), sums.mutable_data_ptr<float>());
  });
  return sums;
}

// Σ_g s[n,g] p[n, g·R + r], float32 [N, R]: p [N, G·R] is used up.
at::Tensor sum_over_groups(const at::Tensor& p, const at::Tensor& scale) {
  const std::int64_t groups = scale.size(1);
  return p.view({p.size(0), groups, p.size(1) / groups}).mul_(scale.unsqueeze(2)).sum(1);
}

// x B_gᵀ of every group of columns, [T, G·R]; b_columns [K, R].
at::Tensor multiply_groups(const at::Tensor& x, const at::Tensor& b_columns, std::int64_t groups) {
  if (groups == 1) return multiply_small(x, b_columns);
  const std::int64_t size = x.size(1) / groups;
  std::vector<at::Tensor> parts;
  for (std::int64_t g = 0; g < groups; ++g)
    parts.push_back(multiply_small(x.narrow(1, g * size, size), b_columns.narrow(0, g * size, size)));
  return at::cat(parts, 1);
}

// x_gᵀ V_g of every group, [K, R]; v [T, G·R], columns = columns_operand of x where x is bfloat16.
at::Tensor multiply_groups_transposed(const at::Tensor& x, const at::Tensor& columns, const at::Tensor& v,
                                      std::int64_t groups) {
  const std::int64_t size = x.size(1) / groups, rank = v.size(1) / groups;
  std::vector<at::Tensor> parts;
  for (std::int64_t g = 0; g < groups; ++g) {
    const at::Tensor group_columns = columns.defined() ? columns.narrow(0, g * size, size) : columns;
    parts.push_back(
        multiply_transposed_small(x.narrow(1, g * size, size), group_columns, v.narrow(1, g * rank, rank)));
  }
  return at::cat(parts, 0);
}

OperandForms& forms_of(const LinearGradient& linear, OperandForms& own) {
  return linear.forms != nullptr ? *linear.forms : own;
}

bool has_small_products(const at::Tensor& x) {
  const ComputeType compute = compute_of(x);
  return block_products(compute) && (compute == ComputeType::float32 || x.size(1) % 2 == 0);
}

// Whether at least the products that are needed run, by blocks or by at::mm.
bool has_products(const BlockSource& source, ComputeType compute) {
  return block_products(compute) || (compute == ComputeType::float32 && source.row_scale.defined());
}

}  // namespace

std::optional<LowRankGradient> low_rank_gradient(const StoredWeight& weight, const LinearGradient& linear,
                                                 std::int64_t most_clipped, bool with_scale) {
  return backend_of(weight.phi_0).low_rank_gradient(weight, linear, most_clipped, with_scale);
}

std::optional<LowRankGradient> CpuBackend::low_rank_gradient(const StoredWeight& weight,
                                                             const LinearGradient& linear,
                                                             std::int64_t most_clipped,
                                                             bool with_scale) const {
  const ComputeType compute = compute_of(linear.x);
  const auto source = BlockSource::of(weight, compute);
  if (!source || !has_products(*source, compute)) return std::nullopt;
  const bool known =
      linear.clipped != nullptr && (linear.clipped->complete || linear.clipped->most >= most_clipped);
  const ClippedEntries own = known ? ClippedEntries{} : find_clipped(*source, most_clipped);
  const ClippedEntries& clipped = known ? *linear.clipped : own;
  const std::int64_t count = clipped.count();
  if (!clipped.complete || count > most_clipped) return std::nullopt;
  const at::Tensor &a = weight.low_rank.lora_a, b_columns = weight.low_rank.lora_b.t().contiguous();
  const at::Tensor scale = source->row_scale.defined() ? source->row_scale.unsqueeze(1) : weight.scale;
  const std::int64_t n = a.size(0), rank = a.size(1), groups = scale.size(1);
  // In bfloat16 dy carries one scale a row already; otherwise the small factors take it.
  const bool scaled = compute == ComputeType::bfloat16 && groups == 1;
  const at::Tensor scaled_a = scaled ? a : (scale.unsqueeze(2) * a.unsqueeze(1)).view({n, groups * rank});
  OperandForms own_forms(linear.x);
  at::Tensor x_columns, grad_columns;
  if (compute == ComputeType::bfloat16 || count > 0) {
    x_columns = forms_of(linear, own_forms).columns();
    grad_columns = columns_operand(linear.operand);
  }
  const at::Tensor p =
      multiply_transposed_small(linear.operand, grad_columns, multiply_groups(linear.x, b_columns, groups));
  at::Tensor grad_a = scaled ? p : sum_over_groups(p, scale);
  at::Tensor grad_b_columns =
      multiply_groups_transposed(linear.x, x_columns, multiply_small(linear.operand, scaled_a), groups);
  if (count > 0) {
    const at::Tensor g = clipped_gradients(clipped, grad_columns, x_columns);
    if (!scaled) scale_entries(clipped, scale, weight.in_features, g);
    const ClippedPart part = clipped_part(clipped, g, a, b_columns);
    grad_a.sub_(part.of_a);
    grad_b_columns.sub_(part.of_b_columns);
  }
  LowRankGradient gradient{grad_a, grad_b_columns.t()};
  if (with_scale) gradient.scale = column_products(linear.grad_output, linear.output).unsqueeze(1) / scale;
  return gradient;
}

namespace {

// Adds the blocks of dL/dŴ, made one after another, to the gradients of A, B and s. Blocks of the same rows
// come on one thread, those of the same columns on several.
class BlockwiseSums {
 public:
  // unit_scale: the blocks are multiplied by the rows' scale already.
  BlockwiseSums(const BlockSource& source, const LowRankTerm& term, bool unit_scale)
      : source_(source),
        a_columns_(term.lora_a.t().contiguous()),
        b_columns_(term.lora_b.t().contiguous()),
        unit_scale_(unit_scale),
        n_(source.out_features()),
        k_(source.in_features()),
        rank_(term.lora_a.size(1)),
        groups_(source.stored.scale.size(1)),
        grad_scale_(at::zeros({n_, groups_}, source.stored.scale.options())),
        grad_a_(at::zeros({n_, rank_}, source.stored.scale.options())),
        grad_b_(at::zeros({at::get_num_threads(), rank_, k_}, source.stored.scale.options())) {}

  void add(const GradientBlock& block) {
    const std::int64_t rows = block.row_end - block.row_begin, cols = block.col_end - block.col_begin;
    make_dz(block, rows, cols);
    multiply_block(rows, rank_, cols, block.values, cols,
                   b_columns_.const_data_ptr<float>() + block.col_begin * rank_, rank_,
                   grad_a_.mutable_data_ptr<float>() + block.row_begin * rank_, rank_, true);
    multiply_block(
        rank_, cols, rows, a_columns_.const_data_ptr<float>() + block.row_begin, n_, block.values, cols,
        grad_b_.mutable_data_ptr<float>() + at::get_thread_num() * rank_ * k_ + block.col_begin, k_, true);
  }

  LowRankGradient result() const {
    return {grad_a_, grad_b_.sum(0), unit_scale_ ? grad_scale_ / source_.stored.scale : grad_scale_};
  }

 private:
  // block.values <- dZ; adds the block's part of ds.
  void make_dz(const GradientBlock& block, std::int64_t rows, std::int64_t cols) {
    static const float one = 1.0F;
    thread_local std::vector<std::int8_t> codes;
    thread_local std::vector<std::uint8_t> mask;
    thread_local std::vector<float> sums;
    const bool one_scale = groups_ == 1;
    const std::int64_t group_size = k_ / groups_, block_groups = one_scale ? 1 : cols / group_size;
    codes.resize(rows * cols);
    mask.resize(rows * cols);
    sums.resize(rows * block_groups);
    kernels::TileOutput output;
    output.codes = codes.data();
    output.mask = mask.data();
    source_.make(block.row_begin, block.row_end, block.col_begin, block.col_end, output);
    const std::int64_t first_group = one_scale ? 0 : block.col_begin / group_size;
    kernels::ScaleView view = source_.scale;
    view.data = unit_scale_ ? &one : view.data + block.row_begin * view.row_stride + first_group;
    view.row_stride = unit_scale_ ? 0 : view.row_stride;
    view.group_size = one_scale ? cols : group_size;
    kernels::low_rank_tile_gradient(rows, cols, codes.data(), mask.data(), view, block.values, sums.data());
    auto* scale_sums = grad_scale_.mutable_data_ptr<float>() + block.row_begin * groups_ + first_group;
    for (std::int64_t i = 0; i < rows; ++i) {
      for (std::int64_t j = 0; j < block_groups; ++j)
        scale_sums[i * groups_ + j] += sums[i * block_groups + j];
    }
  }

  const BlockSource& source_;
  at::Tensor a_columns_, b_columns_;  // [R, N] and [K, R]
  bool unit_scale_;
  std::int64_t n_, k_, rank_, groups_;
  at::Tensor grad_scale_;  // [N, G]
  at::Tensor grad_a_;      // [N, R]
  at::Tensor grad_b_;      // [threads, R, K]: each thread adds to its own
};

}  // namespace

std::optional<LowRankGradient> blockwise_gradient(const StoredWeight& weight, const LinearGradient& linear) {
  return backend_of(weight.phi_0).blockwise_gradient(weight, linear);
}

std::optional<LowRankGradient> CpuBackend::blockwise_gradient(const StoredWeight& weight,
                                                              const LinearGradient& linear) const {
  const ComputeType compute = compute_of(linear.x);
  const auto source = BlockSource::of(weight, compute);
  if (!source || !block_products(compute) || !block_products(ComputeType::float32)) return std::nullopt;
  if (weight.zero_point.defined()) return std::nullopt;  // ds = Σ G ⊙ (q - z): the kernel sums G ⊙ q alone
  const std::int64_t groups = weight.scale.size(1);
  const bool scaled = linear.operand.scalar_type() == at::kBFloat16 && groups == 1;
  OperandForms own_forms(linear.x);
  BlockwiseSums sums(*source, weight.low_rank, scaled);
  for_each_gradient_block(columns_operand(linear.operand), forms_of(linear, own_forms).rows(),
                          weight.in_features, groups == 1 ? 1 : weight.in_features / groups,
                          [&](const GradientBlock& block) { sums.add(block); });
  return sums.result();
}

LowRankGradient adapter_gradient(const LinearGradient& linear, const at::Tensor& lora_a,
                                 const at::Tensor& lora_b) {
  return backend_of(linear.x).adapter_gradient(linear, lora_a, lora_b);
}

LowRankGradient CpuBackend::adapter_gradient(const LinearGradient& linear, const at::Tensor& lora_a,
                                             const at::Tensor& lora_b) const {
  const at::Tensor &x = linear.x, &grad = linear.operand;
  if (!has_small_products(x) || !has_small_products(grad))
    return Backend::adapter_gradient(linear, lora_a, lora_b);
  const at::Tensor b_columns = lora_b.t().contiguous();
  const bool pairs = x.scalar_type() == at::kBFloat16;
  OperandForms own_forms(x);
  const at::Tensor x_columns = pairs ? forms_of(linear, own_forms).columns() : at::Tensor(),
                   grad_columns = pairs ? columns_operand(grad) : at::Tensor();
  const at::Tensor grad_b_columns = multiply_transposed_small(x, x_columns, multiply_small(grad, lora_a));
  return {multiply_transposed_small(grad, grad_columns, multiply_small(x, b_columns)), grad_b_columns.t()};
}

}  // namespace lrqat::ops
