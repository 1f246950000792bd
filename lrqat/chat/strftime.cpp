#include "lrqat/chat/strftime.h"

#include "lrqat/chat/budget.h"

namespace lrqat::chat {

std::string python_strftime(const std::string& format, const std::tm& time) {
  constexpr std::size_t kLongest = 4096;
  if (format.size() > kLongest / 8) refuse("strftime_now: the format has ", format.size(), " bytes");
  std::string plain;
  for (std::size_t i = 0; i < format.size(); ++i) {
    const char next = i + 1 < format.size() ? format[i + 1] : '\0';
    if (format[i] != '%' || next == '\0') {
      plain += format[i] == '%' ? "%%" : std::string(1, format[i]);
      continue;
    }
    ++i;
    if (next == 'f') {
      plain += "000000";
    } else if (next != 'z' && next != 'Z') {  // there is no zone
      plain += {'%', next};
    }
  }
  char buffer[kLongest];
  const std::string ended = plain + "|";  // so that nothing and too much differ
  const std::size_t size = std::strftime(buffer, sizeof buffer, ended.c_str(), &time);
  if (size == 0) refuse("strftime_now: the time by the format ", format, " is too long");
  return {buffer, size - 1};
}

std::tm local_time() {
  const std::time_t now = std::time(nullptr);
  std::tm out{};
  localtime_r(&now, &out);
  return out;
}

}  // namespace lrqat::chat
