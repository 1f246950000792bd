// The methods of str that take a text apart, and those that put one together.
#pragma once

#include "lrqat/chat/methods.h"

namespace lrqat::chat {

Value split(Runtime& runtime, const Value& self, const Bound& bound);
Value rsplit(Runtime& runtime, const Value& self, const Bound& bound);
Value split_lines_method(Runtime& runtime, const Value& self, const Bound& bound);
Value partition(Runtime& runtime, const Value& self, const Bound& bound);
Value rpartition(Runtime& runtime, const Value& self, const Bound& bound);
Value expand_tabs(Runtime& runtime, const Value& self, const Bound& bound);
bool is_of_case(std::string_view text, bool upper);  // islower, isupper

}  // namespace lrqat::chat
