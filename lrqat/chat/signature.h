// Arguments put to the parameters of a function, as Python does it.
#pragma once

#include <string_view>
#include <vector>

#include "lrqat/chat/object.h"

namespace lrqat::chat {

class Bound {
 public:
  // `parameters`: names in order, "?" behind those that may be left out; behind "/" alone none may be named;
  // "*" and "**" take all others. Failure where the arguments do not fit.
  Bound(std::string_view function, std::string_view parameters, Arguments arguments);

  const Value* find(std::size_t index) const { return given_[index] ? &values_[index] : nullptr; }
  const Value& operator[](std::size_t index) const { return values_[index]; }
  Value get(std::size_t index, Value fallback) const { return given_[index] ? values_[index] : fallback; }
  bool flag(std::size_t index, bool fallback) const {
    return given_[index] ? values_[index].truth() : fallback;
  }
  // Failure where it is given and no integer.
  std::int64_t integer(std::size_t index, std::int64_t fallback) const;
  const Text& text(std::size_t index) const;  // Failure where it is no text
  const Arguments& rest() const { return rest_; }

 private:
  std::vector<Value> values_;
  std::vector<bool> given_;
  Arguments rest_;
};

}  // namespace lrqat::chat
