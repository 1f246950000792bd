// The target that says: this token is not to be predicted and not scored.
#pragma once

#include <cstdint>

namespace lrqat {

inline constexpr std::int64_t kIgnoreIndex = -100;  // PyTorch's ignore_index

}  // namespace lrqat
