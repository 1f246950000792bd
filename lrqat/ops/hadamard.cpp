#include "lrqat/ops/hadamard.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <cmath>
#include <map>
#include <mutex>
#include <vector>

#include "lrqat/base/error.h"
#include "lrqat/kernels/hadamard.h"
#include "lrqat/kernels/hadamard_matrix.h"
#include "lrqat/ops/cpu_backend.h"

namespace lrqat::ops {
namespace {

struct Matrices {
  std::vector<float> plain, transposed;  // [small, small]
};

// Made once a program for each order.
const Matrices& matrices_of(std::int64_t small) {
  static std::mutex mutex;
  static std::map<std::int64_t, Matrices> table;
  const std::lock_guard lock(mutex);
  Matrices& found = table[small];
  if (found.plain.empty()) {
    found.plain = kernels::hadamard_matrix(small);
    found.transposed = found.plain;
    for (std::int64_t i = 0; i < small; ++i) {
      for (std::int64_t j = 0; j < small; ++j)
        found.transposed[static_cast<std::size_t>(i * small + j)] =
            found.plain[static_cast<std::size_t>(j * small + i)];
    }
  }
  return found;
}

kernels::HadamardTransform transform_of(std::int64_t size, bool transposed) {
  const kernels::HadamardSize split = kernels::hadamard_size(size);
  LRQAT_CHECK(split.small > 0, "no Hadamard matrix of order ", size);
  const Matrices& matrices = matrices_of(split.small);
  return {(transposed ? matrices.transposed : matrices.plain).data(), split.small, split.power};
}

}  // namespace

bool has_hadamard(std::int64_t size) { return kernels::hadamard_size(size).small > 0; }

at::Tensor hadamard_rows(const at::Tensor& x, bool transposed) {
  return backend_of(x).hadamard_rows(x, transposed);
}

at::Tensor Backend::hadamard_rows(const at::Tensor& x, bool transposed) const {
  const kernels::HadamardTransform transform = transform_of(x.size(-1), transposed);
  const at::Tensor small =
      at::from_blob(const_cast<float*>(transform.matrix), {transform.small, transform.small}, at::kFloat)
          .to(x.options());
  at::Tensor y = at::matmul(small.t(), x.reshape({-1, transform.small, transform.power}));
  for (std::int64_t stride = 1; stride < transform.power; stride *= 2) {
    const at::Tensor pairs = y.reshape({-1, 2, stride}), a = pairs.select(1, 0), b = pairs.select(1, 1);
    y = at::stack({a + b, a - b}, 1);
  }
  return y.mul(1.0 / std::sqrt(static_cast<double>(x.size(-1)))).reshape(x.sizes());
}

at::Tensor CpuBackend::hadamard_rows(const at::Tensor& x, bool transposed) const {
  if (x.scalar_type() != at::kFloat) return Backend::hadamard_rows(x, transposed);
  constexpr std::int64_t kElementsPerTask = 1 << 14;
  const std::int64_t size = x.size(-1);
  const kernels::HadamardTransform transform = transform_of(size, transposed);
  const at::Tensor in = x.contiguous();
  at::Tensor out = at::empty_like(in);
  const std::int64_t rows_at_once = std::max<std::int64_t>(1, kElementsPerTask / size);
  at::parallel_for(0, in.numel() / size, rows_at_once, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row)
      kernels::hadamard_row(in.const_data_ptr<float>() + row * size, transform,
                            out.mutable_data_ptr<float>() + row * size);
  });
  return out;
}

}  // namespace lrqat::ops
