// Memory of large tensors on the CPU, kept for the next tensor of the same size. A training step makes and
// drops tensors of a few sizes over and over, of different lives. The C library's heap either keeps the holes
// between those (1.35 GB instead of 0.75 GB for SmolLM2's training step) or gives every block back at once,
// and then a fifth of the step goes into clearing new pages. The pool does neither: what it holds, in use and
// free, is never more than what was in use at once and kPoolSlack, which tensors of other sizes need.
#pragma once

#include <cstdint>

namespace lrqat::model {

inline constexpr std::int64_t kPoolSlack = std::int64_t{32} << 20;

// From now on CPU tensors of 1 MiB or more get their memory from the pool, in the whole process; those that
// live already stay where they are. A second call does nothing. For programs, not for libraries.
void pool_large_tensors();

struct PoolBytes {
  std::int64_t used = 0;     // by tensors
  std::int64_t free = 0;     // kept for the next ones
  std::int64_t largest = 0;  // that `used` has ever been; used + free is never more than it and kPoolSlack
};
PoolBytes pool_bytes();

// Gives the free blocks back to the system.
void empty_pool();

}  // namespace lrqat::model
