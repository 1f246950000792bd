// Learned rounding (SignRound, arXiv 2309.05516) on raw memory: every weight has an offset v of its own, in
// [-1/2, 1/2], which decides where it rounds to,
//     r = round(W/s + v) + z      q = clip(r, quant_min, quant_max)      Ŵ = s·(q - z)
// v is stored as int16, v = code · 2^-15. N rows, K columns, G scales a row.
#pragma once

#include <cstdint>

namespace lrqat::kernels {

inline constexpr int kLargestRoundingCode = 1 << 14;  // of v: ±1/2
inline constexpr float kRoundingUnit = 0x1p-15F;

struct LearnedRounding {
  const float* weight = nullptr;      // W, [N, K]
  std::int16_t* rounding = nullptr;   // codes of v, [N, K]
  const float* scale = nullptr;       // s, [N, G]; of either sign, not zero
  const float* zero_point = nullptr;  // z, [N, G], whole numbers; null: 0
  std::int64_t cols = 0, groups = 1;  // K, G
  float quant_min = 0.0F, quant_max = 0.0F;
};

// Of rows [begin, end): codes q as int8 [N, K], or Ŵ as float32 or bfloat16; null where not wanted.
struct RoundedOutput {
  std::int8_t* codes = nullptr;
  float* values = nullptr;
  std::uint16_t* bfloat16_values = nullptr;
};
void round_learned(const LearnedRounding& state, std::int64_t begin, std::int64_t end,
                   const RoundedOutput& output);
void round_learned_ref(const LearnedRounding& state, std::int64_t begin, std::int64_t end,
                       const RoundedOutput& output);

// One step of sign descent on v of rows [begin, end), v <- clip(v - step · sign(dL/dv)), with
//     M = 1 where q = r      dL/dv = s·G ⊙ M      ds = Σ G ⊙ (q - z - M·W/s)      dz = s·Σ G ⊙ (M - 1)
// G = dL/dŴ, [end - begin, K]; step: in codes of v. ds, dz (null: not wanted) [end - begin, G] of the state
// before the step.
void step_rounding(const LearnedRounding& state, std::int64_t begin, std::int64_t end, const float* gradient,
                   int step, float* grad_scale, float* grad_zero_point);
void step_rounding_ref(const LearnedRounding& state, std::int64_t begin, std::int64_t end,
                       const float* gradient, int step, float* grad_scale, float* grad_zero_point);

}  // namespace lrqat::kernels
