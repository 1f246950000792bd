// Python's two ways to put values into a text: "%s" % value and "{}".format(value).
#pragma once

#include "lrqat/chat/operations.h"

namespace lrqat::chat {

Value percent_format(const Text& format, const Value& values, Runtime& runtime);
Value brace_format(const Text& format, const Arguments& arguments, Runtime& runtime);

}  // namespace lrqat::chat
