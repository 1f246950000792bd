#include "lrqat/cli/progress_bar.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <iostream>

#include "lrqat/base/error.h"
#include "lrqat/base/field_names.h"

namespace lrqat::cli {

std::string format_duration(double seconds) {
  const auto whole = static_cast<long long>(seconds + 0.5);
  char text[32];
  if (whole >= 3600) {
    std::snprintf(text, sizeof text, "%lld:%02lld:%02lld", whole / 3600, whole / 60 % 60, whole % 60);
  } else {
    std::snprintf(text, sizeof text, "%lld:%02lld", whole / 60, whole % 60);
  }
  return text;
}

ProgressBar::ProgressBar() : terminal_(::isatty(STDERR_FILENO) == 1) {}

ProgressBar::~ProgressBar() { clear(); }

void ProgressBar::start(std::string_view task, std::int64_t total) {
  clear();
  active_ = true;
  task_ = task;
  detail_.clear();
  total_ = total;
  done_ = 0;
  started_ = Clock::now();
  last_drawn_ = started_;
  draw(terminal_);
}

void ProgressBar::update(std::int64_t done, std::string_view detail) {
  done_ = done;
  detail_ = detail;
  draw(false);
}

void ProgressBar::finish() {
  if (!active_) return;
  draw(true);
  if (terminal_) std::cerr << "\n";
  active_ = drawn_ = false;
}

void ProgressBar::message(std::string_view text) {
  clear();
  std::cerr << with_field_names(text, "--") << "\n";
  if (active_ && terminal_) draw(true);
}

// "training  [#####.....]  37/80  1:20 < 1:35  loss 0.31, 212 tokens/s"
std::string ProgressBar::line() const {
  const double elapsed = std::chrono::duration<double>(Clock::now() - started_).count();
  std::string text = task_;
  if (total_ > 0) {
    constexpr int kWidth = 24;
    const int filled = static_cast<int>(kWidth * std::min(done_, total_) / total_);
    text +=
        concat("  [", std::string(filled, '#'), std::string(kWidth - filled, '.'), "]  ", done_, "/", total_);
  } else if (done_ > 0) {
    text += concat("  ", done_);
  }
  text += "  " + format_duration(elapsed);
  if (total_ > 0 && done_ > 0 && done_ < total_) {
    text +=
        " < " + format_duration(elapsed * static_cast<double>(total_ - done_) / static_cast<double>(done_));
  }
  if (!detail_.empty()) text += "  " + detail_;
  return text;
}

void ProgressBar::draw(bool force) {
  if (!active_) return;
  const auto now = Clock::now();
  const auto interval = terminal_ ? std::chrono::milliseconds(100) : std::chrono::milliseconds(10000);
  if (!force && now - last_drawn_ < interval) return;
  last_drawn_ = now;
  if (terminal_) {
    std::cerr << "\r\033[K" << line() << std::flush;
    drawn_ = true;
  } else {
    std::cerr << line() << "\n";
  }
}

void ProgressBar::clear() {
  if (terminal_ && drawn_) std::cerr << "\r\033[K" << std::flush;
  drawn_ = false;
}

}  // namespace lrqat::cli
