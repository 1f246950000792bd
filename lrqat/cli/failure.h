// What ended the program, as its user is told. Exceptions of libraries become sentences: their own texts name
// functions and files of theirs.
#pragma once

#include <string>

namespace lrqat::cli {

struct Failure {
  int exit_code = 1;  // 1 failed, 2 wrong usage
  std::string message;
};

// Of the exception that is being handled; call it in a catch block.
Failure describe_failure();

}  // namespace lrqat::cli
