#pragma once

#include <ctime>
#include <string>

namespace lrqat::chat {

// Python's datetime.strftime of a time without a zone, with whole seconds. Failure where the result is too
// long.
std::string python_strftime(const std::string& format, const std::tm& time);
std::tm local_time();

}  // namespace lrqat::chat
