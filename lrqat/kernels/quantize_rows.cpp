#include "lrqat/kernels/quantize_rows.h"

#include <algorithm>
#include <cmath>

#include "lrqat/kernels/target.h"

namespace lrqat::kernels {
namespace {

// Running extremes side by side, so that no comparison of the loop over a row waits for the one before.
constexpr std::int64_t kLanes = 16;

// Smallest and largest of a row. Written so that a value that is no number is passed over: it comes through
// in the row itself.
struct Range {
  float low, high;
};

LRQAT_INLINE Range row_range(const float* x, std::int64_t cols) {
  float low[kLanes], high[kLanes];
  for (std::int64_t j = 0; j < kLanes; ++j) low[j] = high[j] = x[0];
  std::int64_t col = 0;
  for (; col + kLanes <= cols; col += kLanes) {
    for (std::int64_t j = 0; j < kLanes; ++j) low[j] = x[col + j] < low[j] ? x[col + j] : low[j];
    for (std::int64_t j = 0; j < kLanes; ++j) high[j] = x[col + j] > high[j] ? x[col + j] : high[j];
  }
  for (; col < cols; ++col) {
    low[0] = x[col] < low[0] ? x[col] : low[0];
    high[0] = x[col] > high[0] ? x[col] : high[0];
  }
  return {*std::min_element(low, low + kLanes), *std::max_element(high, high + kLanes)};
}

// On the row's grid; the comparisons let what is no number through.
LRQAT_INLINE float code_of(float x, float scale, float zero_point, float largest, float& unclipped) {
  unclipped = std::rint(x / scale) + zero_point;
  const float above = unclipped < 0.0F ? 0.0F : unclipped;
  return above > largest ? largest : above;
}

LRQAT_INLINE void quantize_row(const float* x, std::int64_t cols, float largest, float* values,
                               std::uint8_t* inside) {
  const Range range = row_range(x, cols);
  const float scale = std::max((range.high - range.low) / largest, kSmallestActivationScale);
  const float zero_point = -range.low / scale;
  float unclipped = 0.0F;
  if (inside == nullptr) {
    for (std::int64_t i = 0; i < cols; ++i) {
      values[i] = (code_of(x[i], scale, zero_point, largest, unclipped) - zero_point) * scale;
    }
    return;
  }
  for (std::int64_t i = 0; i < cols; ++i) {
    const float code = code_of(x[i], scale, zero_point, largest, unclipped);
    inside[i] = code == unclipped ? 1 : 0;
    values[i] = (code - zero_point) * scale;
  }
}

}  // namespace

LRQAT_KERNEL
void quantize_rows(const float* x, std::int64_t begin, std::int64_t end, std::int64_t cols, float largest,
                   float* values, std::uint8_t* inside) {
  for (std::int64_t row = begin; row < end; ++row) {
    quantize_row(x + row * cols, cols, largest, values + row * cols,
                 inside == nullptr ? nullptr : inside + row * cols);
  }
}

void quantize_rows_ref(const float* x, std::int64_t begin, std::int64_t end, std::int64_t cols, float largest,
                       float* values, std::uint8_t* inside) {
  for (std::int64_t row = begin; row < end; ++row) {
    const float* in = x + row * cols;
    const auto [low, high] = std::minmax_element(in, in + cols);
    const float scale = std::max((*high - *low) / largest, kSmallestActivationScale),
                zero_point = -*low / scale;
    for (std::int64_t i = 0; i < cols; ++i) {
      const float rounded = std::rint(in[i] / scale) + zero_point;
      const float code = std::clamp(rounded, 0.0F, largest);
      values[row * cols + i] = (code - zero_point) * scale;
      if (inside != nullptr) inside[row * cols + i] = code == rounded ? 1 : 0;
    }
  }
}

}  // namespace lrqat::kernels
