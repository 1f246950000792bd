#include <unistd.h>

#include <cstdlib>

#include "lrqat/cli/cli.h"

namespace {

// OpenMP's threads spin while they wait for each other. Where anything else runs on the machine that costs
// more than it gains: with two busy neighbours on two cores a training step took over ten times as long. The
// runtime reads the variable when it is loaded, before main, so the program sets it and starts itself anew,
// once. Whoever sets one of the variables decides for themselves.
void wait_without_spinning(char** argv) {
  if (std::getenv("GOMP_SPINCOUNT") != nullptr || std::getenv("OMP_WAIT_POLICY") != nullptr) return;
  ::setenv("GOMP_SPINCOUNT", "0", 1);
  ::execv("/proc/self/exe", argv);  // where that is not possible, things go on as they are
}

}  // namespace

int main(int argc, char** argv) {
  wait_without_spinning(argv);
  return lrqat::cli::run(argc, argv);
}
