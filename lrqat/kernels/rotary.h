// Rotary position embedding of one head. Callers split the heads over threads.
#pragma once

#include <cstdint>

namespace lrqat::kernels {

// One head of size 2·half: (x1, x2) -> (x1 cos - x2 sin, x2 cos + x1 sin). `direction` 1, or -1 for the
// inverse rotation.
void rotate_head(const float* x, const float* cos, const float* sin, float direction, float* out,
                 std::int64_t half);

}  // namespace lrqat::kernels
