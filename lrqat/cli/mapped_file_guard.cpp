#include "lrqat/cli/mapped_file_guard.h"

#include <unistd.h>

#include <csignal>
#include <cstring>

#include "lrqat/base/file.h"

namespace lrqat::cli {
namespace {

// Nothing but calls that a signal handler may make.
void print(const char* text) {
  if (::write(STDERR_FILENO, text, std::strlen(text)) < 0) ::_exit(1);
}

extern "C" void end_at_lost_page(int signal, siginfo_t* info, void*) {
  const char* path = mapped_file_at(info->si_addr);
  if (path == nullptr) {  // not ours to explain: the signal comes again and ends the program as usual
    std::signal(signal, SIG_DFL);
    return;
  }
  if (::isatty(STDERR_FILENO) != 0) print("\n");
  print("lrqat: ");
  print(path);
  print(kCutShort);
  print("\n");
  ::_exit(1);
}

}  // namespace

void guard_mapped_files() {
  struct sigaction action {};
  action.sa_sigaction = end_at_lost_page;
  action.sa_flags = SA_SIGINFO;
  ::sigemptyset(&action.sa_mask);
  ::sigaction(SIGBUS, &action, nullptr);
}

}  // namespace lrqat::cli
