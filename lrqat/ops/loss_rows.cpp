#include "lrqat/ops/loss_rows.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <cmath>

namespace lrqat::ops {

bool has_loss_kernels(at::Device device) { return device.is_cpu(); }

std::int64_t logit_tile_columns(at::Device device) { return device.is_cpu() ? 1024 : 32768; }

std::int64_t logit_bytes(std::int64_t bytes, at::Device device) {
  return device.is_cpu() ? bytes : 16 * bytes;
}

RowLogSumExp::RowLogSumExp(std::int64_t rows, bool kernels)
    : kernels_(kernels), running_(kernels ? static_cast<std::size_t>(rows) : 0) {}

void RowLogSumExp::add(const at::Tensor& tile) {
  if (!kernels_) return;
  const float* data = tile.const_data_ptr<float>();
  const std::int64_t stride = tile.stride(0), columns = tile.size(1);
  at::parallel_for(0, tile.size(0), 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t row = first; row < last; ++row)
      kernels::update_log_sum_exp(data + row * stride, columns, running_[static_cast<std::size_t>(row)]);
  });
}

at::Tensor RowLogSumExp::result(const at::Tensor& logits) const {
  if (!kernels_) return at::logsumexp(logits, 1);
  at::Tensor lse = at::empty({logits.size(0)}, logits.options());
  float* out = lse.mutable_data_ptr<float>();
  for (const kernels::RunningLogSumExp& row : running_) *out++ = row.maximum + std::log(row.sum);
  return lse;
}

void to_softmax_gradient(at::Tensor tile, const at::Tensor& lse, const at::Tensor& factor, bool kernels) {
  if (!kernels) {
    tile.copy_((tile - lse.unsqueeze(1)).exp_().mul_(factor.unsqueeze(1)));
    return;
  }
  float* z = tile.mutable_data_ptr<float>();
  const float *sum = lse.const_data_ptr<float>(), *scale = factor.const_data_ptr<float>();
  const std::int64_t stride = tile.stride(0), columns = tile.size(1);
  at::parallel_for(0, tile.size(0), 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i)
      kernels::softmax_gradient(z + i * stride, columns, sum[i], scale[i]);
  });
}

void to_distilled_gradient(at::Tensor tile, const TeacherRows& teacher, const at::Tensor& lse,
                           const at::Tensor& factor, at::Tensor difference, bool kernels) {
  if (!kernels) {
    at::Tensor gradient = (tile - lse.unsqueeze(1)).exp_();
    const at::Tensor probability = (teacher.logits - teacher.lse.unsqueeze(1)).exp_();
    difference += (probability * (teacher.logits - tile)).sum(1);
    gradient.sub_(probability, teacher.weight);
    tile.copy_(gradient.mul_(factor.unsqueeze(1)));
    return;
  }
  float* z = tile.mutable_data_ptr<float>();
  const float *t = teacher.logits.const_data_ptr<float>(), *sum = lse.const_data_ptr<float>(),
              *teacher_sum = teacher.lse.const_data_ptr<float>(), *scale = factor.const_data_ptr<float>();
  double* sums = difference.mutable_data_ptr<double>();
  const std::int64_t stride = tile.stride(0), teacher_stride = teacher.logits.stride(0),
                     columns = tile.size(1);
  const auto weight = static_cast<float>(teacher.weight);
  at::parallel_for(0, tile.size(0), 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i)
      sums[i] += kernels::distilled_gradient(z + i * stride, t + i * teacher_stride, columns, sum[i],
                                             teacher_sum[i], scale[i], weight);
  });
}

void add_teacher_difference(const at::Tensor& tile, const TeacherRows& teacher, at::Tensor difference,
                            bool kernels) {
  if (!kernels) {
    const at::Tensor probability = (teacher.logits - teacher.lse.unsqueeze(1)).exp_();
    difference += (probability * (teacher.logits - tile)).sum(1);
    return;
  }
  const float *z = tile.const_data_ptr<float>(), *t = teacher.logits.const_data_ptr<float>(),
              *teacher_sum = teacher.lse.const_data_ptr<float>();
  double* sums = difference.mutable_data_ptr<double>();
  const std::int64_t stride = tile.stride(0), teacher_stride = teacher.logits.stride(0),
                     columns = tile.size(1);
  at::parallel_for(0, tile.size(0), 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i)
      sums[i] += kernels::teacher_weighted_difference(z + i * stride, t + i * teacher_stride, columns,
                                                      teacher_sum[i]);
  });
}

void subtract_one_hot(at::Tensor tile, const at::Tensor& column, std::int64_t first_column,
                      const at::Tensor& value, bool kernels) {
  const std::int64_t end = first_column + tile.size(1);
  if (!kernels) {
    const at::Tensor inside = (column >= first_column).logical_and_(column < end);
    const at::Tensor taken = value.unsqueeze(1).masked_fill(~inside, 0.0);
    tile.scatter_add_(1, (column - first_column).clamp(0, tile.size(1) - 1), -taken);
    return;
  }
  const auto* at_column = column.const_data_ptr<std::int64_t>();
  const float* taken = value.const_data_ptr<float>();
  float* z = tile.mutable_data_ptr<float>();
  for (std::int64_t row = 0; row < tile.size(0); ++row) {
    if (at_column[row] >= first_column && at_column[row] < end)
      z[row * tile.stride(0) + at_column[row] - first_column] -= taken[row];
  }
}

}  // namespace lrqat::ops
