// Run-time choice of the instruction set for plain loops.
//
// LRQAT_KERNEL before a function's definition: the compiler makes one clone a target and the loader picks the
// best that the processor has. For loops that are simple and not hot.
//
// The hot kernels choose themselves, so that block shapes can differ by target and a test can force one: a
// body (LRQAT_INLINE template) is instantiated in functions marked LRQAT_TARGET_V4, LRQAT_TARGET_V3 and in a
// plain one, and kernel_target() says which to call.
#pragma once

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__SANITIZE_ADDRESS__)
#define LRQAT_KERNEL __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define LRQAT_KERNEL
#endif
#if defined(__x86_64__) && defined(__GNUC__)
#define LRQAT_TARGET_V4 __attribute__((target("arch=x86-64-v4,prefer-vector-width=512")))
#define LRQAT_TARGET_V3 __attribute__((target("arch=x86-64-v3")))
#else
#define LRQAT_TARGET_V4
#define LRQAT_TARGET_V3
#endif
#define LRQAT_INLINE inline __attribute__((always_inline))

namespace lrqat::kernels {

enum class KernelTarget { baseline, v3, v4 };  // SSE2 or another architecture; AVX2 with FMA; AVX-512

// The best that this processor has, not above the one that the environment variable LRQAT_KERNEL_TARGET
// (baseline, v3, v4) names, read once.
KernelTarget kernel_target();
// For tests: overrides it from now on. LRQAT_CHECK: the processor has it.
void set_kernel_target(KernelTarget target);
// The best that this processor has.
KernelTarget best_kernel_target();

}  // namespace lrqat::kernels
