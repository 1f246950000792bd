// exp and tanh of one float, for the loops of this folder: plain arithmetic, so that compilers make vectors
// of it. Inlined into each of their targets.
#pragma once

#include <bit>
#include <cstdint>

#include "lrqat/kernels/target.h"

namespace lrqat::kernels {

// exp(x) for x <= about 0 to 2 units in the last place: x = n ln 2 + r, |r| <= ln 2 / 2, a polynomial in r
// (Cephes' expf), then n into the exponent. Below -87 the result is exp(-87), 1.6e-38: as good as zero in a
// sum whose largest term is 1. NaN stays NaN, so that a broken model is noticed.
LRQAT_INLINE float exp_nonpositive(float x) {
  constexpr float kLog2E = 1.44269504088896341F;
  constexpr float kLn2High = 0.693359375F;
  constexpr float kLn2Low = -2.12194440e-4F;
  constexpr float kMagic = 12582912.0F;  // 1.5 · 2^23: adding it rounds to an integer
  x = x < -87.0F ? -87.0F : x;
  const float shifted = x * kLog2E + kMagic;
  const float n = shifted - kMagic;
  const float r = (x - n * kLn2High) - n * kLn2Low;
  float p = 1.9875691500e-4F;
  p = p * r + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  p = p * (r * r) + (r + 1.0F);
  const std::uint32_t exponent = (std::bit_cast<std::uint32_t>(shifted) + 127U) << 23;
  return p * std::bit_cast<float>(exponent);
}

// tanh(x) to a few units in the last place: a polynomial near zero (Cephes' tanhf), where the other form
// cancels.
LRQAT_INLINE float tanh_of(float x) {
  const float size = x < 0.0F ? -x : x, z = x * x;
  float p = -5.70498872745e-3F;
  p = p * z + 2.06390887954e-2F;
  p = p * z - 5.37397155531e-2F;
  p = p * z + 1.33314422036e-1F;
  p = p * z - 3.33332819422e-1F;
  const float small = p * z * x + x;
  const float e = exp_nonpositive(-2.0F * size), large = (1.0F - e) / (1.0F + e);
  return size < 0.625F ? small : (x < 0.0F ? -large : large);
}

}  // namespace lrqat::kernels
