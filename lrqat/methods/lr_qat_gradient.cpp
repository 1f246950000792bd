// The gradients of LR-QAT's parameters (docs/method.md section 5): without dL/dŴ where a row has one scale,
// and with dL/dŴ in blocks otherwise.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>

#include "lrqat/kernels/token_sums.h"
#include "lrqat/methods/lr_qat_weight.h"
#include "lrqat/ops/block_product.h"

namespace lrqat::methods {
namespace {

std::int64_t count_of(const ops::ClippedLists& clipped) {
  std::int64_t count = 0;
  for (const auto& list : clipped.lists) count += static_cast<std::int64_t>(list.size());
  return count;
}

ops::OperandForms& forms_of(const quant::LinearGradient& linear, ops::OperandForms& own) {
  return linear.forms != nullptr ? *linear.forms : own;
}

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

// g = Σ_t dy[t,n] x[t,k] of every clipped entry, list by list, from columns_operand of both.
std::vector<std::vector<float>> clipped_gradients(const ops::ClippedLists& clipped, const at::Tensor& grad,
                                                  const at::Tensor& x) {
  const bool pairs = x.scalar_type() == at::kInt;
  std::vector<std::vector<float>> values(clipped.lists.size());
  at::parallel_for(
      0, static_cast<std::int64_t>(clipped.lists.size()), 1, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) {
          const auto& list = clipped.lists[i];
          values[i].resize(list.size());
          const auto size = static_cast<std::int64_t>(list.size());
          if (pairs) {
            kernels::sampled_products_of_pairs(
                list.data(), size, static_cast<const std::uint32_t*>(grad.const_data_ptr()),
                static_cast<const std::uint32_t*>(x.const_data_ptr()), x.size(1), values[i].data());
          } else {
            kernels::sampled_products(list.data(), size, grad.const_data_ptr<float>(),
                                      x.const_data_ptr<float>(), x.size(1), values[i].data());
          }
        }
      });
  return values;
}

// Σ over the clipped entries of g·B[:,k] for every row n, and of g·A[n,:] for every column k: what the
// low-rank form has too much. a [N, R], b_columns [K, R]; results [N, R] and [K, R]. No two threads write the
// same row.
struct ClippedPart {
  at::Tensor of_a;
  at::Tensor of_b_columns;
};

ClippedPart clipped_part(const ops::ClippedLists& clipped, const std::vector<std::vector<float>>& g,
                         const at::Tensor& a, const at::Tensor& b_columns) {
  const std::int64_t rank = a.size(1);
  ClippedPart part{at::zeros_like(a), at::zeros_like(b_columns)};
  const auto add = [rank](float factor, const float* row, float* sum) {
    for (std::int64_t r = 0; r < rank; ++r) sum[r] += factor * row[r];
  };
  const auto *from_a = a.const_data_ptr<float>(), *from_b = b_columns.const_data_ptr<float>();
  auto *to_a = part.of_a.mutable_data_ptr<float>(), *to_b = part.of_b_columns.mutable_data_ptr<float>();
  const auto& lists = clipped.lists;
  at::parallel_for(0, static_cast<std::int64_t>(lists.size()), 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      for (std::size_t e = 0; e < lists[i].size(); ++e)
        add(g[i][e], from_a + lists[i][e].row * rank, to_b + lists[i][e].col * rank);
    }
  });
  at::parallel_for(0, a.size(0), 64, [&](std::int64_t begin, std::int64_t end) {
    for (std::size_t i = 0; i < lists.size(); ++i) {
      const auto& list = lists[i];
      auto entry =
          std::lower_bound(list.begin(), list.end(), begin,
                           [](const kernels::ClippedEntry& x, std::int64_t row) { return x.row < row; });
      for (; entry != list.end() && entry->row < end; ++entry)
        add(g[i][entry - list.begin()], from_b + entry->col * rank, to_a + entry->row * rank);
    }
  });
  return part;
}

// Σ_g s[n,g] p[n, g·R + r], float32 [N, R]: p [N, G·R] is used up.
at::Tensor sum_over_groups(const at::Tensor& p, const at::Tensor& scale) {
  const std::int64_t groups = scale.size(1);
  return p.view({p.size(0), groups, p.size(1) / groups}).mul_(scale.unsqueeze(2)).sum(1);
}

// x B_gᵀ of every group of columns, [T, G·R]; b_columns [K, R].
at::Tensor multiply_groups(const at::Tensor& x, const at::Tensor& b_columns, std::int64_t groups) {
  if (groups == 1) return ops::multiply_small(x, b_columns);
  const std::int64_t size = x.size(1) / groups;
  std::vector<at::Tensor> parts;
  for (std::int64_t g = 0; g < groups; ++g)
    parts.push_back(ops::multiply_small(x.narrow(1, g * size, size), b_columns.narrow(0, g * size, size)));
  return at::cat(parts, 1);
}

// x_gᵀ V_g of every group, [K, R]; v [T, G·R], columns = columns_operand of x where x is bfloat16.
at::Tensor multiply_groups_transposed(const at::Tensor& x, const at::Tensor& columns, const at::Tensor& v,
                                      std::int64_t groups) {
  const std::int64_t size = x.size(1) / groups, rank = v.size(1) / groups;
  std::vector<at::Tensor> parts;
  for (std::int64_t g = 0; g < groups; ++g) {
    const at::Tensor group_columns = columns.defined() ? columns.narrow(0, g * size, size) : columns;
    parts.push_back(ops::multiply_transposed_small(x.narrow(1, g * size, size), group_columns,
                                                   v.narrow(1, g * rank, rank)));
  }
  return at::cat(parts, 0);
}

// g <- g · s of the entries' groups.
void scale_entries(const ops::ClippedLists& clipped, const at::Tensor& scale, std::int64_t group_size,
                   std::vector<std::vector<float>>& g) {
  const auto* s = scale.const_data_ptr<float>();
  const std::int64_t groups = scale.size(1);
  for (std::size_t i = 0; i < clipped.lists.size(); ++i) {
    const auto& list = clipped.lists[i];
    for (std::size_t e = 0; e < list.size(); ++e)
      g[i][e] *= s[list[e].row * groups + list[e].col / group_size];
  }
}

}  // namespace

// Where sampled products cost what dL/dŴ in blocks does (bench/linear_bench --crossover: 6 to 8 % in float32,
// 4 to 6 % in bfloat16).
double LrQatWeight::largest_clipped_share(ops::ComputeType compute) {
  return compute == ops::ComputeType::float32 ? 0.06 : 0.045;
}

// With one scale a row dL/dŴ is never needed. With a scale a group of columns it is where the scales learn,
// and where the other form's 4·T·N·G·R flops save little of its 2·T·N·K.
bool LrQatWeight::has_low_rank_gradient() const {
  const std::int64_t groups = scale_.value().size(1);
  if (groups == 1) return true;
  const bool pays = 8 * groups * options_.rank <= 3 * in_features();
  return !options_.scale.learn && pays && in_features() / groups % 2 == 0;  // pairs of columns in bfloat16
}

std::int64_t LrQatWeight::most_clipped(double share) const {
  return static_cast<std::int64_t>(share * static_cast<double>(out_features() * in_features()));
}

bool LrQatWeight::add_gradient_from_activations(const quant::LinearGradient& linear,
                                                at::TensorList grads) const {
  return add_low_rank_gradient(linear, grads, largest_clipped_share(ops::compute_of(linear.x))) ||
         add_blockwise_gradient(linear, grads);
}

// With one scale a row dL/dŴ is never needed,
//     ds_n = Σ_t dy·y / s_n     dA = γ s ⊙ (dyᵀ (x Bᵀ))     dB = γ ((dy ⊙ s) A)ᵀ x,
// exact where nothing is clipped; the clipped entries' part of dA and dB is taken back out. With a frozen
// scale a group g of columns,
//     dA = γ Σ_g s_g ⊙ (dyᵀ (x_g B_gᵀ))     dB_g = γ ((dy ⊙ s_g) A)ᵀ x_g.
bool LrQatWeight::add_low_rank_gradient(const quant::LinearGradient& linear, at::TensorList grads,
                                        double largest_clipped_share) const {
  const ops::ComputeType compute = ops::compute_of(linear.x);
  const auto source = operand_source(compute);
  if (!source || !has_low_rank_gradient()) return false;
  if (!ops::block_products(compute) &&
      (compute == ops::ComputeType::bfloat16 || !source->row_scale.defined()))
    return false;
  const std::int64_t most = most_clipped(largest_clipped_share);
  const bool known = linear.clipped != nullptr && (linear.clipped->complete || linear.clipped->most >= most);
  const ops::ClippedLists own = known ? ops::ClippedLists{} : ops::clipped_entries(*source, most);
  const ops::ClippedLists& clipped = known ? *linear.clipped : own;
  const std::int64_t count = count_of(clipped);
  if (!clipped.complete || count > most) return false;
  const double scaling = options_.scaling();
  const at::Tensor a = lora_a_.detach(), b_columns = lora_b_.detach().t().contiguous();
  const at::Tensor scale =
      source->row_scale.defined() ? source->row_scale.unsqueeze(1) : scale_.effective().contiguous();
  const std::int64_t groups = scale.size(1);
  // In bfloat16 dy carries one scale a row already; otherwise the small factors take it.
  const bool scaled = compute == ops::ComputeType::bfloat16 && groups == 1;
  const at::Tensor scaled_a =
      scaled ? a : (scale.unsqueeze(2) * a.unsqueeze(1)).view({out_features(), groups * options_.rank});
  ops::OperandForms own_forms(linear.x);
  at::Tensor x_columns, grad_columns;
  if (compute == ops::ComputeType::bfloat16 || count > 0) {
    x_columns = forms_of(linear, own_forms).columns();
    grad_columns = ops::columns_operand(linear.operand);
  }
  const at::Tensor p = ops::multiply_transposed_small(linear.operand, grad_columns,
                                                      multiply_groups(linear.x, b_columns, groups));
  at::Tensor grad_a = scaled ? p : sum_over_groups(p, scale);
  at::Tensor grad_b_columns =
      multiply_groups_transposed(linear.x, x_columns, ops::multiply_small(linear.operand, scaled_a), groups);
  if (count > 0) {
    auto g = clipped_gradients(clipped, grad_columns, x_columns);
    if (!scaled) scale_entries(clipped, scale, in_features() / groups, g);
    const ClippedPart part = clipped_part(clipped, g, a, b_columns);
    grad_a.sub_(part.of_a);
    grad_b_columns.sub_(part.of_b_columns);
  }
  at::Tensor(grads[0]).add_(grad_a, scaling);
  at::Tensor(grads[1]).add_(grad_b_columns.t(), scaling);
  if (options_.scale.learn) {
    const at::Tensor sums = column_products(linear.grad_output, linear.output).unsqueeze(1);
    quant::add_per_scale_gradient(scale_, sums / scale, 0, grads[2]);
  }
  return true;
}

bool LrQatWeight::add_blockwise_gradient(const quant::LinearGradient& linear, at::TensorList grads) const {
  const auto source = operand_source(ops::compute_of(linear.x));
  if (!source || !ops::block_products(ops::compute_of(linear.x)) ||
      !ops::block_products(ops::ComputeType::float32))
    return false;
  if (source->scale.zero_point != nullptr)
    return false;  // ds = Σ G ⊙ (q - z) needs a sum that the kernel has not
  const std::int64_t n_all = out_features(), k_all = in_features(), rank = options_.rank;
  const at::Tensor scale = scale_.effective();
  const std::int64_t groups = scale.size(1), group_size = k_all / groups;
  const bool one_scale = groups == 1;
  const bool scaled = linear.operand.scalar_type() == at::kBFloat16 && one_scale;  // blocks hold s ⊙ G
  const at::Tensor a_columns = lora_a_.detach().t().contiguous(),
                   b_columns = lora_b_.detach().t().contiguous();
  at::Tensor grad_scale = at::zeros({n_all, groups}, scale.options());
  at::Tensor grad_a = at::zeros({n_all, rank}, scale.options());
  at::Tensor grad_b =
      at::zeros({at::get_num_threads(), rank, k_all}, scale.options());  // each thread its own
  const float one = 1.0F;
  ops::OperandForms own_forms(linear.x);
  ops::for_each_gradient_block(
      ops::columns_operand(linear.operand), forms_of(linear, own_forms).rows(), k_all,
      one_scale ? 1 : group_size, [&](const ops::GradientBlock& block) {
        const std::int64_t rows = block.row_end - block.row_begin, cols = block.col_end - block.col_begin;
        thread_local std::vector<std::int8_t> codes;
        thread_local std::vector<std::uint8_t> mask;
        thread_local std::vector<float> sums;
        const std::int64_t block_groups = one_scale ? 1 : cols / group_size;
        codes.resize(rows * cols);
        mask.resize(rows * cols);
        sums.resize(rows * block_groups);
        kernels::TileOutput output;
        output.codes = codes.data();
        output.mask = mask.data();
        source->make(block.row_begin, block.row_end, block.col_begin, block.col_end, output);
        const std::int64_t first_group = one_scale ? 0 : block.col_begin / group_size;
        kernels::ScaleView view = source->scale;
        view.data = scaled ? &one : view.data + block.row_begin * view.row_stride + first_group;
        view.row_stride = scaled ? 0 : view.row_stride;
        view.group_size = one_scale ? cols : group_size;
        kernels::low_rank_tile_gradient(rows, cols, codes.data(), mask.data(), view, block.values,
                                        sums.data());
        auto* scale_sums = grad_scale.mutable_data_ptr<float>() + block.row_begin * groups + first_group;
        for (std::int64_t i = 0; i < rows; ++i) {
          for (std::int64_t j = 0; j < block_groups; ++j)
            scale_sums[i * groups + j] += sums[i * block_groups + j];
        }
        ops::small_block_product(rows, rank, cols, block.values, cols,
                                 b_columns.const_data_ptr<float>() + block.col_begin * rank, rank,
                                 grad_a.mutable_data_ptr<float>() + block.row_begin * rank, rank, true);
        ops::small_block_product(
            rank, cols, rows, a_columns.const_data_ptr<float>() + block.row_begin, n_all, block.values, cols,
            grad_b.mutable_data_ptr<float>() + at::get_thread_num() * rank * k_all + block.col_begin, k_all,
            true);
      });
  const double scaling = options_.scaling();
  at::Tensor(grads[0]).add_(grad_a, scaling);
  at::Tensor(grads[1]).add_(grad_b.sum(0), scaling);
  if (options_.scale.learn)
    quant::add_per_scale_gradient(scale_, scaled ? grad_scale / scale : grad_scale, 0, grads[2]);
  return true;
}

}  // namespace lrqat::methods
