#include "lrqat/base/cpu.h"

#include <fstream>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace lrqat {
namespace {

CpuFeatures detect() {
  CpuFeatures features;
#if defined(__x86_64__)
  __builtin_cpu_init();
  features.avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  features.avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (features.avx512 && __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx))
    features.avx512_bf16 = (eax >> 5) & 1U;
  if (features.avx512 && __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx))
    features.amx_bf16 = (edx >> 22) & 1U;
#endif
  return features;
}

}  // namespace

const CpuFeatures& cpu_features() {
  static const CpuFeatures features = detect();
  return features;
}

bool has_fast_bfloat16() { return cpu_features().avx512_bf16 || cpu_features().amx_bf16; }

std::string cpu_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
  }
  return "unknown CPU";
}

}  // namespace lrqat
