// Plain quantization to Q6_K of tensors that were not trained (embeddings, heads): the format's freedom, a
// scale of eight bits for 16 weights under one float16 number for 256, is searched for the least squared
// error. What it writes is read as any Q6_K block is: d·sc·(u - 32).
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "lrqat/base/error.h"
#include "lrqat/formats/ggml_numbers.h"

namespace lrqat::formats {
namespace {

constexpr std::size_t kBlock = 256, kGroup = 16, kGroups = kBlock / kGroup;
constexpr int kLow = -32, kHigh = 31;
constexpr float kLargestScale = 127.0F;  // of sc

int code_of(float value, float scale) {
  return scale == 0.0F ? 0 : std::clamp(static_cast<int>(std::nearbyint(value / scale)), kLow, kHigh);
}

struct Fit {
  float scale = 0.0F;
  double gain = 0.0;  // how much of Σ x² the codes take off: (Σ x·q)² / Σ q²
};

// The scale of 16 weights: codes by a first guess, then the scale that suits these codes best.
Fit fit_of(std::span<const float> values, float guess) {
  double products = 0.0, squares = 0.0;
  for (const float value : values) {
    const int code = code_of(value, guess);
    products += static_cast<double>(value) * code;
    squares += static_cast<double>(code) * code;
  }
  if (squares == 0.0) return {};
  return {static_cast<float>(products / squares), products * products / squares};
}

float best_scale(std::span<const float> values) {
  float largest = 0.0F;  // with its sign: on -32 it has the finest grid
  for (const float value : values) {
    if (std::fabs(value) > std::fabs(largest)) largest = value;
  }
  Fit best;
  for (float steps = 28.0F; steps <= 33.0F; steps += 0.5F) {
    const Fit fit = fit_of(values, -largest / steps);
    if (fit.gain > best.gain) best = fit;
  }
  return best.scale;
}

void quantize_block(std::span<const float> values, BlockQ6_K& block) {
  std::array<float, kGroups> scales{};
  float largest = 0.0F;
  for (std::size_t g = 0; g < kGroups; ++g) {
    scales[g] = best_scale(values.subspan(g * kGroup, kGroup));
    largest = std::max(largest, std::fabs(scales[g]));
  }
  if (largest / kLargestScale > 65504.0F) {
    fail("cannot quantize to Q6_K: a scale of ", largest, " is too large for float16");
  }
  block.d = float_to_float16(largest / kLargestScale);
  const float d = float16_to_float(block.d);
  for (std::size_t g = 0; g < kGroups; ++g) {
    const float number = d == 0.0F ? 0.0F : std::nearbyint(scales[g] / d);
    block.scales[g] = static_cast<std::int8_t>(std::clamp(number, -128.0F, kLargestScale));
    for (std::size_t i = g * kGroup; i < (g + 1) * kGroup; ++i) {
      const int code = code_of(values[i], d * static_cast<float>(block.scales[g]));
      numbers::Q6_K::put(block, i, numbers::Q6_K::number(code, 0));
    }
  }
}

}  // namespace

void quantize_row_q6_k(std::span<const float> values, std::byte* out) {
  LRQAT_CHECK(values.size() % kBlock == 0, values.size(), " values are not whole blocks of ", kBlock);
  for (const float value : values) {
    if (!std::isfinite(value))
      fail("cannot quantize to Q6_K: a value is ", value, ", expected finite numbers");
  }
  for (std::size_t i = 0; i < values.size(); i += kBlock) {
    BlockQ6_K block{};
    quantize_block(values.subspan(i, kBlock), block);
    std::memcpy(out, &block, sizeof block);
    out += sizeof block;
  }
}

}  // namespace lrqat::formats
