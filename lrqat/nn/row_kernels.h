// The elementwise work between the matrix products, a row at a time on float32 in memory: norm and rotation.
// Compiled for several instruction sets and chosen at run time. Callers split the rows over threads.
#pragma once

#include <cstdint>

namespace lrqat::nn {

// y = weight ⊙ x · r with r = 1 / sqrt(mean(x²) + eps); returns r.
float rms_norm_row(const float* x, const float* weight, float eps, float* y, std::int64_t size);

// grad_x = r (w ⊙ grad) - x r³ mean(w ⊙ grad ⊙ x)
void rms_norm_backward_row(const float* grad, const float* x, const float* weight, float r, float* grad_x,
                           std::int64_t size);

// One head of size 2·half: (x1, x2) -> (x1 cos - x2 sin, x2 cos + x1 sin). `direction` -1 turns back.
void rotate_head(const float* x, const float* cos, const float* sin, float direction, float* out,
                 std::int64_t half);

}  // namespace lrqat::nn
