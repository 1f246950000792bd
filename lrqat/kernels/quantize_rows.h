// Per-token fake quantization of activations (docs/method.md section 9) on raw memory: each row on its own
// grid. R rows, C columns.
#pragma once

#include <cstdint>

namespace lrqat::kernels {

inline constexpr float kSmallestActivationScale = 1e-8F;  // of every activation quantizer, static ones too

// For rows [begin, end) of x, float32 [R, C]:
//     s = max((max x - min x) / largest, 1e-8)      z = -min x / s, not rounded
//     q = clip(round(x / s) + z, 0, largest)        values = s·(q - z)
// inside[i] = 1 where q was not clipped, else 0; null: not wanted. A value that is not finite gives values
// that are not. `values` may be x.
void quantize_rows(const float* x, std::int64_t begin, std::int64_t end, std::int64_t cols, float largest,
                   float* values, std::uint8_t* inside);
void quantize_rows_ref(const float* x, std::int64_t begin, std::int64_t end, std::int64_t cols, float largest,
                       float* values, std::uint8_t* inside);

}  // namespace lrqat::kernels
