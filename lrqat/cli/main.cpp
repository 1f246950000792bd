#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string_view>
#include <vector>

#include "lrqat/cli/run.h"

namespace {

// OpenMP's threads spin while they wait for each other, by default for so long that a busy neighbour on the
// machine makes a training step over ten times slower. A short spin costs nothing on a quiet machine (347
// against 354 tokens/s on two cores) and gives way on a busy one. The runtime reads the variable when it is
// loaded, so the program adds it and starts itself anew, once: from .preinit_array, before the libraries'
// constructors, because LibTorch's take a quarter of a second. Whoever sets one of the variables decides for
// themselves.
void wait_with_a_short_spin(int, char** argv, char** environment) {
  std::vector<const char*> variables;
  for (char** variable = environment; *variable != nullptr; ++variable) {
    const std::string_view text = *variable;
    if (text.starts_with("GOMP_SPINCOUNT=") || text.starts_with("OMP_WAIT_POLICY=")) return;
    variables.push_back(*variable);
  }
  variables.insert(variables.end(), {"GOMP_SPINCOUNT=1000", nullptr});
  // Where that is not possible, things go on as they are.
  ::execve("/proc/self/exe", argv, const_cast<char**>(variables.data()));
}

[[gnu::section(".preinit_array"), gnu::used]] void (*const before_libraries)(int, char**,
                                                                             char**) = wait_with_a_short_spin;

// A program started with standard streams closed would get their numbers for the files that it opens, and
// print into those. What stands in for standard output cannot be written to, so that printing fails as it
// should.
void keep_standard_streams() {
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(stream, F_GETFD) < 0) ::open("/dev/null", stream == STDERR_FILENO ? O_WRONLY : O_RDONLY);
  }
}

}  // namespace

int main(int argc, char** argv) {
  keep_standard_streams();
  const int code = lrqat::cli::run(argc, argv);
  std::cout.flush();
  std::fflush(nullptr);
  std::_Exit(code);  // what is left, LibTorch's destructors, takes a tenth of a second and does nothing
}
