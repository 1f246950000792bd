#include "lrqat/kernels/learned_rounding.h"

#include <algorithm>
#include <cmath>

#include "lrqat/base/half.h"
#include "lrqat/kernels/target.h"

namespace lrqat::kernels {
namespace {

// The weights of one scale.
struct Group {
  const float* weight;
  std::int16_t* rounding;
  float scale, zero_point;
  std::int64_t size;
};

LRQAT_INLINE Group group_of(const LearnedRounding& state, std::int64_t row, std::int64_t group) {
  const std::int64_t size = state.cols / state.groups, at = row * state.cols + group * size;
  const std::int64_t index = row * state.groups + group;
  return {state.weight + at, state.rounding + at, state.scale[index],
          state.zero_point == nullptr ? 0.0F : state.zero_point[index], size};
}

// steps: W/s of weight j.
LRQAT_INLINE float code_before_clip(const Group& g, std::int64_t j, float steps) {
  return std::rint(steps + static_cast<float>(g.rounding[j]) * kRoundingUnit) + g.zero_point;
}

LRQAT_INLINE float clip(float value, float low, float high) {
  const float above = value < low ? low : value;
  return above > high ? high : above;
}

LRQAT_INLINE float code_of(const LearnedRounding& state, const Group& g, std::int64_t j) {
  return clip(code_before_clip(g, j, g.weight[j] / g.scale), state.quant_min, state.quant_max);
}

// One loop a form of output, so that each is plain enough for vectors.
LRQAT_INLINE void round_group(const LearnedRounding& state, const Group& g, std::int64_t at,
                              const RoundedOutput& out) {
  const float s = g.scale, z = g.zero_point;
  if (out.codes != nullptr) {
    std::int8_t* codes = out.codes + at;
    for (std::int64_t j = 0; j < g.size; ++j) codes[j] = static_cast<std::int8_t>(code_of(state, g, j));
  }
  if (out.values != nullptr) {
    float* values = out.values + at;
    for (std::int64_t j = 0; j < g.size; ++j) values[j] = s * (code_of(state, g, j) - z);
  }
  if (out.bfloat16_values != nullptr) {
    std::uint16_t* values = out.bfloat16_values + at;
    for (std::int64_t j = 0; j < g.size; ++j) values[j] = float_to_bfloat16(s * (code_of(state, g, j) - z));
  }
}

constexpr std::int64_t kLanes = 16;  // running sums side by side

struct Sums {
  float scale = 0.0F, beyond = 0.0F;  // Σ G ⊙ (q - z - M·W/s), Σ G ⊙ (1 - M)
};

// The step of weight j; adds its terms to the sums.
LRQAT_INLINE void step_weight(const LearnedRounding& state, const Group& g, const float* gradient,
                              std::int64_t j, int step, float& scale, float& beyond) {
  const float steps = g.weight[j] / g.scale;
  const float rounded = code_before_clip(g, j, steps);
  const float code = clip(rounded, state.quant_min, state.quant_max);
  const float inside = code == rounded ? 1.0F : 0.0F;
  scale += gradient[j] * (code - g.zero_point - inside * steps);
  beyond += gradient[j] * (1.0F - inside);
  const float slope = inside * gradient[j] * g.scale;
  const int moved = g.rounding[j] - (slope > 0.0F ? step : slope < 0.0F ? -step : 0);
  const int above = moved < -kLargestRoundingCode ? -kLargestRoundingCode : moved;
  g.rounding[j] = static_cast<std::int16_t>(above > kLargestRoundingCode ? kLargestRoundingCode : above);
}

LRQAT_INLINE Sums step_group(const LearnedRounding& state, const Group& g, const float* gradient, int step) {
  float scale[kLanes] = {}, beyond[kLanes] = {};
  Sums total;
  std::int64_t j = 0;
  for (; j + kLanes <= g.size; j += kLanes) {
    for (std::int64_t lane = 0; lane < kLanes; ++lane)
      step_weight(state, g, gradient, j + lane, step, scale[lane], beyond[lane]);
  }
  for (; j < g.size; ++j) step_weight(state, g, gradient, j, step, total.scale, total.beyond);
  for (std::int64_t lane = 0; lane < kLanes; ++lane) {
    total.scale += scale[lane];
    total.beyond += beyond[lane];
  }
  return total;
}

}  // namespace

LRQAT_KERNEL
void round_learned(const LearnedRounding& state, std::int64_t begin, std::int64_t end,
                   const RoundedOutput& output) {
  const std::int64_t size = state.cols / state.groups;
  for (std::int64_t row = begin; row < end; ++row) {
    for (std::int64_t group = 0; group < state.groups; ++group)
      round_group(state, group_of(state, row, group), row * state.cols + group * size, output);
  }
}

LRQAT_KERNEL
void step_rounding(const LearnedRounding& state, std::int64_t begin, std::int64_t end, const float* gradient,
                   int step, float* grad_scale, float* grad_zero_point) {
  const std::int64_t size = state.cols / state.groups;
  for (std::int64_t row = begin; row < end; ++row) {
    for (std::int64_t group = 0; group < state.groups; ++group) {
      const Group g = group_of(state, row, group);
      const std::int64_t out = (row - begin) * state.groups + group;
      const Sums sums = step_group(state, g, gradient + (row - begin) * state.cols + group * size, step);
      grad_scale[out] = sums.scale;
      if (grad_zero_point != nullptr) grad_zero_point[out] = -g.scale * sums.beyond;
    }
  }
}

// --- the readable form

void round_learned_ref(const LearnedRounding& state, std::int64_t begin, std::int64_t end,
                       const RoundedOutput& output) {
  const std::int64_t size = state.cols / state.groups;
  for (std::int64_t row = begin; row < end; ++row) {
    for (std::int64_t col = 0; col < state.cols; ++col) {
      const std::int64_t at = row * state.cols + col, group = row * state.groups + col / size;
      const float s = state.scale[group], z = state.zero_point == nullptr ? 0.0F : state.zero_point[group];
      const float v = static_cast<float>(state.rounding[at]) * kRoundingUnit;
      const float q = std::clamp(std::rint(state.weight[at] / s + v) + z, state.quant_min, state.quant_max);
      if (output.codes != nullptr) output.codes[at] = static_cast<std::int8_t>(q);
      if (output.values != nullptr) output.values[at] = s * (q - z);
      if (output.bfloat16_values != nullptr) output.bfloat16_values[at] = float_to_bfloat16(s * (q - z));
    }
  }
}

void step_rounding_ref(const LearnedRounding& state, std::int64_t begin, std::int64_t end,
                       const float* gradient, int step, float* grad_scale, float* grad_zero_point) {
  const std::int64_t size = state.cols / state.groups;
  for (std::int64_t row = begin; row < end; ++row) {
    for (std::int64_t group = 0; group < state.groups; ++group) {
      const std::int64_t index = row * state.groups + group, out = (row - begin) * state.groups + group;
      const float s = state.scale[index], z = state.zero_point == nullptr ? 0.0F : state.zero_point[index];
      float ds = 0.0F, dz = 0.0F;
      for (std::int64_t col = group * size; col < (group + 1) * size; ++col) {
        const std::int64_t at = row * state.cols + col;
        const float g = gradient[(row - begin) * state.cols + col];
        const float u = state.weight[at] / s;
        const float r = std::rint(u + static_cast<float>(state.rounding[at]) * kRoundingUnit) + z;
        const float q = std::clamp(r, state.quant_min, state.quant_max);
        const bool inside = q == r;
        ds += g * (q - z - (inside ? u : 0.0F));
        dz -= inside ? 0.0F : s * g;
        const float slope = inside ? s * g : 0.0F;
        const int moved = state.rounding[at] - (slope > 0.0F ? step : slope < 0.0F ? -step : 0);
        state.rounding[at] =
            static_cast<std::int16_t>(std::clamp(moved, -kLargestRoundingCode, kLargestRoundingCode));
      }
      grad_scale[out] = ds;
      if (grad_zero_point != nullptr) grad_zero_point[out] = dz;
    }
  }
}

}  // namespace lrqat::kernels
