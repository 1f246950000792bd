// The root-mean-square norm, a row of float32 at a time. Callers split the rows over threads.
#pragma once

#include <cstdint>

namespace lrqat::kernels {

// y = weight ⊙ x · r with r = 1 / sqrt(mean(x²) + eps); returns r.
float rms_norm_row(const float* x, const float* weight, float eps, float* y, std::int64_t size);

// grad_x = r (w ⊙ grad) - x r³ mean(w ⊙ grad ⊙ x)
void rms_norm_backward_row(const float* grad, const float* x, const float* weight, float r, float* grad_x,
                           std::int64_t size);

}  // namespace lrqat::kernels
