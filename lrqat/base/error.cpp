#include "lrqat/base/error.h"

namespace lrqat {

void internal_error(const char* file, int line, const char* condition, const std::string& detail) {
  throw InternalError(concat("internal error at ", file, ":", line, ": ", condition,
                             detail.empty() ? "" : ": ", detail,
                             " (this is a bug in lrqat, please report it)"));
}

}  // namespace lrqat
