#include "lrqat/cli/stop_signals.h"

#include <csignal>

namespace lrqat::cli {
namespace {

std::atomic<bool> stop_requested{false};
std::atomic<bool> stoppable{false};

extern "C" void request_stop(int signal) {
  std::signal(signal, SIG_DFL);
  if (stoppable) {
    stop_requested = true;
  } else {
    std::raise(signal);
  }
}

// A signal that is ignored stays so where `keep_ignored`: SIGHUP under nohup.
void set_handler(int signal, void (*handler)(int), bool keep_ignored = false) {
  if (std::signal(signal, handler) == SIG_IGN && keep_ignored) std::signal(signal, SIG_IGN);
}

void handle_signals(void (*handler)(int)) {
  set_handler(SIGINT, handler);
  set_handler(SIGTERM, handler);
  set_handler(SIGHUP, handler, true);
}

}  // namespace

StopSignals::StopSignals() { handle_signals(request_stop); }

const std::atomic<bool>* StopSignals::requested() const { return &stop_requested; }

void StopSignals::can_stop() { stoppable = true; }

void StopSignals::release() const { handle_signals(SIG_DFL); }

}  // namespace lrqat::cli
