// What this processor can do, asked once.
#pragma once

#include <string>

namespace lrqat {

struct CpuFeatures {
  bool avx2 = false;         // with FMA
  bool avx512 = false;       // F, BW, DQ, VL
  bool avx512_bf16 = false;  // vdpbf16ps
  bool amx_bf16 = false;
};

const CpuFeatures& cpu_features();

// True where bfloat16 matrix products run faster than float32 ones. Elsewhere they are emulated, 10 to 400
// times slower.
bool has_fast_bfloat16();

std::string cpu_name();

}  // namespace lrqat
