// Ctrl-C and its like while something runs that can go on later: the first asks it to save and stop, the
// second, or one before there is anything to save, ends the program as usual.
#pragma once

#include <atomic>

namespace lrqat::cli {

// Of the whole program, so one at a time.
class StopSignals {
 public:
  StopSignals();
  ~StopSignals() { release(); }
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  const std::atomic<bool>* requested() const;
  static void can_stop();  // from now on there is something to save
  void release() const;    // signals end the program again
};

}  // namespace lrqat::cli
