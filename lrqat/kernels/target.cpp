#include "lrqat/kernels/target.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <string>

#include "lrqat/base/cpu.h"
#include "lrqat/base/error.h"

namespace lrqat::kernels {
namespace {

KernelTarget wanted_target() {
  const char* name = std::getenv("LRQAT_KERNEL_TARGET");
  const std::string text = name == nullptr ? "" : name;
  if (text == "baseline") return KernelTarget::baseline;
  if (text == "v3") return KernelTarget::v3;
  return KernelTarget::v4;
}

std::atomic<KernelTarget>& current() {
  static std::atomic<KernelTarget> target{std::min(wanted_target(), best_kernel_target())};
  return target;
}

}  // namespace

KernelTarget best_kernel_target() {
  if (cpu_features().avx512) return KernelTarget::v4;
  return cpu_features().avx2 ? KernelTarget::v3 : KernelTarget::baseline;
}

KernelTarget kernel_target() { return current().load(std::memory_order_relaxed); }

void set_kernel_target(KernelTarget target) {
  LRQAT_CHECK(target <= best_kernel_target(), "this processor does not have the kernel target");
  current().store(target);
}

}  // namespace lrqat::kernels
