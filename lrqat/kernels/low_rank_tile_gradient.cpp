#include <algorithm>

#include "lrqat/kernels/low_rank_tile.h"
#include "lrqat/kernels/target.h"

namespace lrqat::kernels {

LRQAT_KERNEL
void low_rank_tile_gradient(std::int64_t rows, std::int64_t cols, const std::int8_t* codes,
                            const std::uint8_t* mask, const ScaleView& scale, float* grad,
                            float* grad_scale) {
  constexpr std::int64_t kLanes = 16;
  const std::int64_t groups = cols / scale.group_size;
  for (std::int64_t row = 0; row < rows; ++row) {
    const float* s = scale.data + row * scale.row_stride;
    for (std::int64_t begin = 0; begin < cols; begin += scale.group_size) {
      const std::int64_t end = std::min(cols, begin + scale.group_size);
      const float factor = s[begin / scale.group_size];
      const std::int8_t* q = codes + row * cols;
      const std::uint8_t* m = mask + row * cols;
      float* g = grad + row * cols;
      float lanes[kLanes] = {};
      std::int64_t k = begin;
      for (; k + kLanes <= end; k += kLanes) {
        for (std::int64_t j = 0; j < kLanes; ++j) {
          lanes[j] += g[k + j] * static_cast<float>(q[k + j]);
          g[k + j] = g[k + j] * factor * static_cast<float>(m[k + j]);
        }
      }
      for (std::int64_t j = 0; k < end; ++k, ++j) {
        lanes[j] += g[k] * static_cast<float>(q[k]);
        g[k] = g[k] * factor * static_cast<float>(m[k]);
      }
      float sum = 0.0F;
      for (const float lane : lanes) sum += lane;
      grad_scale[row * groups + begin / scale.group_size] = sum;
    }
  }
}

}  // namespace lrqat::kernels
