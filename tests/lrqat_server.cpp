// Runs the program again and again for the Python tests (tests/support.py): LibTorch is loaded once, which
// takes longer than what most of the tests' commands do, and every command runs in a process of its own,
// forked from this one. A line on stdin is one command, as JSON: {"arguments": […], "stdin": path, "stdout":
// path, "stderr": path}; its answer on stdout is the exit code, or minus the signal that ended it.
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include "lrqat/base/error.h"
#include "lrqat/base/json.h"
#include "lrqat/cli/run.h"

namespace {

void redirect(int stream, const std::string& path, int flags) {
  const int file = ::open(path.c_str(), flags | O_CLOEXEC, 0600);
  if (file < 0 || ::dup2(file, stream) < 0) lrqat::fail("cannot open ", path);
}

int run(const lrqat::Json& command) {
  redirect(STDIN_FILENO, command.at("stdin"), O_RDONLY);
  redirect(STDOUT_FILENO, command.at("stdout"), O_WRONLY | O_CREAT | O_TRUNC);
  redirect(STDERR_FILENO, command.at("stderr"), O_WRONLY | O_CREAT | O_TRUNC);
  auto words = command.at("arguments").get<std::vector<std::string>>();
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  const int code = lrqat::cli::run(static_cast<int>(words.size()), arguments.data());
  std::cout.flush();
  std::fflush(nullptr);
  return code;
}

}  // namespace

// std::cin and std::cout are left to the commands.
int main() {
  std::FILE* commands = ::fdopen(::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3), "r");
  const int answers = ::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
  char* line = nullptr;
  std::size_t size = 0;
  while (::getline(&line, &size, commands) > 0) {
    const lrqat::Json command = lrqat::parse_json(line, "the command");
    const pid_t child = ::fork();
    if (child == 0) ::_exit(run(command));
    int status = 0;
    if (child < 0 || ::waitpid(child, &status, 0) != child) lrqat::fail("a command was not run");
    ::dprintf(answers, "%d\n", WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status));
  }
  std::_Exit(0);
}
