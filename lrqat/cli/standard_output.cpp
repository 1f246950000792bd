#include "lrqat/cli/standard_output.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <iostream>

#include "lrqat/base/error.h"

namespace lrqat::cli {
namespace {

[[noreturn]] void fail_output(int error) {
  fail("cannot write to standard output", error == 0 ? "" : ": ", error == 0 ? "" : std::strerror(error),
       "; what was printed is not whole");
}

}  // namespace

void check_standard_output() {
  const int error = errno;
  if (std::cout.bad()) fail_output(error);
}

void flush_standard_output() {
  errno = 0;
  std::cout.flush();
  if (std::cout.bad() || std::ferror(stdout) != 0) fail_output(errno);
}

}  // namespace lrqat::cli
