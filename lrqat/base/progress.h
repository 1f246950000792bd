// How long work tells what it is doing. The library never prints; the cli gives it one of these.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace lrqat {

class ProgressReporter {
 public:
  virtual ~ProgressReporter() = default;
  // `task` starts: `total` units of work (0 = unknown).
  virtual void start(std::string_view task, std::int64_t total) = 0;
  // `done` units so far; `detail` is a short free text ("loss 2.31, 812 tokens/s").
  virtual void update(std::int64_t done, std::string_view detail) = 0;
  virtual void finish() = 0;
  // One line that should stay visible (a warning, an evaluation result).
  virtual void message(std::string_view line) = 0;
};

// The reporter that says nothing.
class SilentProgress final : public ProgressReporter {
 public:
  void start(std::string_view, std::int64_t) override {}
  void update(std::int64_t, std::string_view) override {}
  void finish() override {}
  void message(std::string_view) override {}
};

}  // namespace lrqat
