#include "lrqat/ops/norm_rows.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "lrqat/kernels/rms_norm.h"
#include "lrqat/kernels/rotary.h"
#include "lrqat/ops/cpu_backend.h"

namespace lrqat::ops {
namespace {

constexpr std::int64_t kRowsPerTask = 16;

bool has_row_kernel(const at::Tensor& x) { return x.scalar_type() == at::kFloat; }

}  // namespace

NormedRows rms_norm_rows(const at::Tensor& x, const at::Tensor& weight, double eps) {
  return backend_of(x).rms_norm_rows(x, weight, eps);
}

NormedRows CpuBackend::rms_norm_rows(const at::Tensor& x, const at::Tensor& weight, double eps) const {
  if (!has_row_kernel(x)) return Backend::rms_norm_rows(x, weight, eps);
  at::Tensor y = at::empty_like(x);
  at::Tensor r = at::empty({x.size(0), 1}, x.options());
  const std::int64_t size = x.size(1);
  at::parallel_for(0, x.size(0), kRowsPerTask, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      r.data_ptr<float>()[row] =
          kernels::rms_norm_row(x.const_data_ptr<float>() + row * size, weight.const_data_ptr<float>(),
                                static_cast<float>(eps), y.data_ptr<float>() + row * size, size);
    }
  });
  return {y, r};
}

at::Tensor rms_norm_input_gradient(const at::Tensor& grad, const at::Tensor& x, const at::Tensor& weight,
                                   const at::Tensor& r) {
  return backend_of(x).rms_norm_input_gradient(grad, x, weight, r);
}

at::Tensor CpuBackend::rms_norm_input_gradient(const at::Tensor& grad, const at::Tensor& x,
                                               const at::Tensor& weight, const at::Tensor& r) const {
  if (!has_row_kernel(x)) return Backend::rms_norm_input_gradient(grad, x, weight, r);
  at::Tensor grad_x = at::empty_like(x);
  const std::int64_t size = x.size(1);
  at::parallel_for(0, x.size(0), kRowsPerTask, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      kernels::rms_norm_backward_row(grad.const_data_ptr<float>() + row * size,
                                     x.const_data_ptr<float>() + row * size, weight.const_data_ptr<float>(),
                                     r.const_data_ptr<float>()[row], grad_x.data_ptr<float>() + row * size,
                                     size);
    }
  });
  return grad_x;
}

at::Tensor rotate_heads(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin, bool inverse) {
  return backend_of(x).rotate_heads(x, cos, sin, inverse);
}

at::Tensor CpuBackend::rotate_heads(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin,
                                    bool inverse) const {
  if (!has_row_kernel(x)) return Backend::rotate_heads(x, cos, sin, inverse);
  const float direction = inverse ? -1.0F : 1.0F;
  const std::int64_t half = cos.size(1);
  at::Tensor out = at::empty_like(x);
  const std::int64_t tokens = x.size(1), heads = x.size(2);
  at::parallel_for(0, x.size(0) * tokens, 16, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const std::int64_t angle = row % tokens * half;
      for (std::int64_t head = 0; head < heads; ++head) {
        const std::int64_t start = (row * heads + head) * 2 * half;
        kernels::rotate_head(x.const_data_ptr<float>() + start, cos.const_data_ptr<float>() + angle,
                             sin.const_data_ptr<float>() + angle, direction, out.data_ptr<float>() + start,
                             half);
      }
    }
  });
  return out;
}

}  // namespace lrqat::ops
