// What main calls.
#pragma once

namespace lrqat::cli {

// Runs the program; returns the exit code (0 done, 1 failed, 2 wrong usage).
int run(int argc, char** argv);

}  // namespace lrqat::cli
