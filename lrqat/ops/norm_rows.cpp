#include "lrqat/ops/norm_rows.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "lrqat/kernels/rms_norm.h"
#include "lrqat/kernels/rotary.h"

namespace lrqat::ops {
namespace {

constexpr std::int64_t kRowsPerTask = 16;

bool has_row_kernel(const at::Tensor& x) { return x.device().is_cpu() && x.scalar_type() == at::kFloat; }

}  // namespace

NormedRows rms_norm_rows(const at::Tensor& x, const at::Tensor& weight, double eps) {
  if (!has_row_kernel(x)) {
    const at::Tensor r = (x.square().mean(-1, true) + eps).rsqrt();
    return {x * r * weight, r};
  }
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
  if (!has_row_kernel(x)) {
    const at::Tensor weighted = grad * weight;
    return weighted * r - x * (r.pow(3) * (weighted * x).mean(-1, true));
  }
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
  const double direction = inverse ? -1.0 : 1.0;
  const std::int64_t half = cos.size(1);
  if (!has_row_kernel(x)) {
    const at::Tensor c = cos.unsqueeze(1), s = sin.unsqueeze(1) * direction;
    const at::Tensor x1 = x.narrow(-1, 0, half), x2 = x.narrow(-1, half, half);
    return at::cat({x1 * c - x2 * s, x2 * c + x1 * s}, -1);
  }
  at::Tensor out = at::empty_like(x);
  const std::int64_t tokens = x.size(1), heads = x.size(2);
  at::parallel_for(0, x.size(0) * tokens, 16, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const std::int64_t angle = row % tokens * half;
      for (std::int64_t head = 0; head < heads; ++head) {
        const std::int64_t start = (row * heads + head) * 2 * half;
        kernels::rotate_head(x.const_data_ptr<float>() + start, cos.const_data_ptr<float>() + angle,
                             sin.const_data_ptr<float>() + angle, static_cast<float>(direction),
                             out.data_ptr<float>() + start, half);
      }
    }
  });
  return out;
}

}  // namespace lrqat::ops
