// Seconds that pass, for speeds and intervals.
#pragma once

#include <chrono>

namespace lrqat {

// On a clock that never goes back; only differences mean something.
inline double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace lrqat
