#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>

#include "lrqat/cli/cli.h"

namespace {

// OpenMP's threads spin while they wait for each other, by default for so long that a busy neighbour on the
// machine makes a training step over ten times slower. A short spin costs nothing on a quiet machine (347
// against 354 tokens/s on two cores) and gives way on a busy one. The runtime reads the variable when it is
// loaded, before main, so the program sets it and starts itself anew, once. Whoever sets one of the variables
// decides for themselves.
void wait_with_a_short_spin(char** argv) {
  if (std::getenv("GOMP_SPINCOUNT") != nullptr || std::getenv("OMP_WAIT_POLICY") != nullptr) return;
  ::setenv("GOMP_SPINCOUNT", "1000", 1);
  ::execv("/proc/self/exe", argv);  // where that is not possible, things go on as they are
}

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
  wait_with_a_short_spin(argv);
  return lrqat::cli::run(argc, argv);
}
