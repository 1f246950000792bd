// The command line: one subcommand a file, each registered in the table of cli.cpp.
#pragma once

namespace CLI {
class App;
}

namespace lrqat::cli {

// What every subcommand takes: --json, --threads, --seed, --device.
struct CommonOptions {
  bool json = false;
  int threads = 0;  // 0: all cores
  unsigned long long seed = 0;
  const char* device = "cpu";
};

// Runs the program; returns the exit code (0 done, 1 failed, 2 wrong usage).
int run(int argc, char** argv);

}  // namespace lrqat::cli
