// Softmax losses on the CPU, row by row.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <cmath>
#include <vector>

#include "lrqat/kernels/softmax_rows.h"
#include "lrqat/ops/cpu_backend.h"

namespace lrqat::ops {

namespace {

class KernelLogSumExp final : public RowLogSumExp {
 public:
  explicit KernelLogSumExp(std::int64_t rows) : running_(static_cast<std::size_t>(rows)) {}

  void add(const at::Tensor& tile) override {
    const float* data = tile.const_data_ptr<float>();
    const std::int64_t stride = tile.stride(0), columns = tile.size(1);
    at::parallel_for(0, tile.size(0), 1, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t row = first; row < last; ++row)
        kernels::update_log_sum_exp(data + row * stride, columns, running_[static_cast<std::size_t>(row)]);
    });
  }

  at::Tensor result(const at::Tensor& logits) const override {
    at::Tensor lse = at::empty({logits.size(0)}, logits.options());
    float* out = lse.mutable_data_ptr<float>();
    for (const kernels::RunningLogSumExp& row : running_) *out++ = row.maximum + std::log(row.sum);
    return lse;
  }

 private:
  std::vector<kernels::RunningLogSumExp> running_;
};

}  // namespace

// 4·C bytes a token stay in the cache.
std::int64_t CpuBackend::logit_tile_columns() const { return 1024; }

std::int64_t CpuBackend::logit_bytes(std::int64_t bytes) const { return bytes; }

std::unique_ptr<RowLogSumExp> CpuBackend::row_log_sum_exp(std::int64_t rows) const {
  return std::make_unique<KernelLogSumExp>(rows);
}

void CpuBackend::to_softmax_gradient(at::Tensor tile, const at::Tensor& lse, const at::Tensor& factor) const {
  float* z = tile.mutable_data_ptr<float>();
  const float *sum = lse.const_data_ptr<float>(), *scale = factor.const_data_ptr<float>();
  const std::int64_t stride = tile.stride(0), columns = tile.size(1);
  at::parallel_for(0, tile.size(0), 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i)
      kernels::softmax_gradient(z + i * stride, columns, sum[i], scale[i]);
  });
}

void CpuBackend::to_distilled_gradient(at::Tensor tile, const TeacherRows& teacher, const at::Tensor& lse,
                                       const at::Tensor& factor, at::Tensor difference) const {
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

void CpuBackend::add_teacher_difference(const at::Tensor& tile, const TeacherRows& teacher,
                                        at::Tensor difference) const {
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

void CpuBackend::subtract_one_hot(at::Tensor tile, const at::Tensor& column, std::int64_t first_column,
                                  const at::Tensor& value) const {
  const std::int64_t end = first_column + tile.size(1);
  const auto* at_column = column.const_data_ptr<std::int64_t>();
  const float* taken = value.const_data_ptr<float>();
  float* z = tile.mutable_data_ptr<float>();
  for (std::int64_t row = 0; row < tile.size(0); ++row) {
    if (at_column[row] >= first_column && at_column[row] < end)
      z[row * tile.stride(0) + at_column[row] - first_column] -= taken[row];
  }
}

}  // namespace lrqat::ops
