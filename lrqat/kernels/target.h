// Run-time choice of the instruction set for plain loops: the compiler makes one clone a target and the
// loader picks the best that the processor has. LRQAT_KERNEL goes before a function's definition;
// LRQAT_INLINE on what it calls.
#pragma once

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__SANITIZE_ADDRESS__)
#define LRQAT_KERNEL __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define LRQAT_KERNEL
#endif
#define LRQAT_INLINE inline __attribute__((always_inline))
