#include "lrqat/ops/device.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>

#include "lrqat/ops/cpu_backend.h"

namespace lrqat::ops {

bool on_host(at::Device device) { return device.is_cpu(); }

void for_row_blocks(const at::Tensor& like,
                    const std::function<void(std::int64_t begin, std::int64_t end)>& work) {
  backend_of(like).for_row_blocks(like, work);
}

// ATen inside parallel_for runs on the calling thread.
void CpuBackend::for_row_blocks(const at::Tensor& like,
                                const std::function<void(std::int64_t, std::int64_t)>& work) const {
  constexpr std::int64_t kBlockElements = 1 << 14;
  const std::int64_t rows = like.size(0);
  const std::int64_t step = std::max<std::int64_t>(1, kBlockElements / like.size(1));
  at::parallel_for(0, (rows + step - 1) / step, 1, [&](std::int64_t first, std::int64_t last) {
    const at::NoGradGuard no_grad;  // grad mode is thread-local
    for (std::int64_t block = first; block < last; ++block) {
      work(block * step, std::min((block + 1) * step, rows));
    }
  });
}

}  // namespace lrqat::ops
