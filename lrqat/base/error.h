// Errors. A user's mistake (bad file, bad flag, impossible combination) throws lrqat::Error with a message
// that says what was found where, what was expected and what to do. A bug of ours trips LRQAT_CHECK.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace lrqat {

class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// A broken invariant of the program itself. Not derived from Error: nobody can repair it by changing input.
class InternalError : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

// A mistake in how the program was called (unknown flag value, missing flag): exit code 2 in the cli.
class UsageError : public Error {
 public:
  using Error::Error;
};

template <typename... Parts>
std::string concat(const Parts&... parts) {
  std::ostringstream out;
  ((out << parts), ...);
  return out.str();
}

template <typename... Parts>
[[noreturn]] void fail(const Parts&... parts) {
  throw Error(concat(parts...));
}

[[noreturn]] void internal_error(const char* file, int line, const char* condition,
                                 const std::string& detail);

}  // namespace lrqat

// Checks an invariant of ours; the optional parts are streamed into the message.
#define LRQAT_CHECK(condition, ...)                                                          \
  do {                                                                                       \
    if (!(condition)) {                                                                      \
      ::lrqat::internal_error(__FILE__, __LINE__, #condition, ::lrqat::concat(__VA_ARGS__)); \
    }                                                                                        \
  } while (false)
