// What a template may use up: it comes from strangers, and `range` loops inside each other or a string
// doubled again and again would take all time and memory. Also the error that stops it.
#pragma once

#include <cstddef>
#include <stdexcept>
#include <string>

#include "lrqat/base/error.h"

namespace lrqat::chat {

struct Limits {
  std::size_t steps = 100'000'000;           // expressions evaluated, items walked over
  std::size_t bytes = std::size_t{1} << 30;  // of all strings, lists and output that it makes
  std::size_t deepest = 1000;                // expressions, blocks and macros inside each other
};

// What goes wrong while a template runs. The interpreter makes an lrqat::Error of it, with the line.
class Failure : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

template <typename... Parts>
[[noreturn]] void refuse(const Parts&... parts) {
  throw Failure(concat(parts...));
}

class Budget {
 public:
  explicit Budget(const Limits& limits) : limits_(limits) {}

  void step(std::size_t count = 1) {
    steps_ += count;
    if (steps_ > limits_.steps) refuse("the template takes more than ", limits_.steps, " steps");
  }
  void allocate(std::size_t bytes) {
    bytes_ += bytes;
    if (bytes_ > limits_.bytes)
      refuse("the template makes more than ", limits_.bytes, " bytes of text and values");
    step(bytes / 64);
  }

  // One level of nesting as long as it lives.
  class Level {
   public:
    explicit Level(Budget& budget) : budget_(budget) {
      if (++budget_.depth_ > budget_.limits_.deepest) {
        --budget_.depth_;
        refuse("the template nests deeper than ", budget_.limits_.deepest, " levels");
      }
    }
    ~Level() { --budget_.depth_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

   private:
    Budget& budget_;
  };

 private:
  const Limits limits_;
  std::size_t steps_ = 0;
  std::size_t bytes_ = 0;
  std::size_t depth_ = 0;
};

}  // namespace lrqat::chat
