// Progress on stderr: a bar that redraws itself on a terminal, a line every few seconds elsewhere.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "lrqat/base/progress.h"

namespace lrqat::cli {

class ProgressBar final : public ProgressReporter {
 public:
  ProgressBar();
  ~ProgressBar() override;

  void start(std::string_view task, std::int64_t total) override;
  void update(std::int64_t done, std::string_view detail) override;
  void finish() override;
  void message(std::string_view line) override;

 private:
  using Clock = std::chrono::steady_clock;

  std::string line() const;
  void draw(bool force);
  void clear();

  bool terminal_;
  bool active_ = false;
  bool drawn_ = false;
  std::string task_;
  std::string detail_;
  std::int64_t total_ = 0;
  std::int64_t done_ = 0;
  Clock::time_point started_;
  Clock::time_point last_drawn_;
};

// "1:02:07", "3:05".
std::string format_duration(double seconds);

}  // namespace lrqat::cli
