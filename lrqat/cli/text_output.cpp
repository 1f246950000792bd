#include "lrqat/cli/text_output.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <cstdio>
#include <cstring>

#include "lrqat/base/error.h"

namespace lrqat::cli {

std::string rounded(double value, int decimals) {
  std::array<char, 512> text{};
  std::snprintf(text.data(), text.size(), "%.*f", decimals, value);
  return text.data();
}

std::string with_error(double value, double standard_error) {
  constexpr int kFewest = 1, kMost = 8, kUnknown = 4;
  const bool known = standard_error > 0 && std::isfinite(standard_error);
  const int decimals =
      known ? std::clamp(1 - static_cast<int>(std::floor(std::log10(standard_error))), kFewest, kMost)
            : kUnknown;
  return concat(rounded(value, decimals), " ± ", rounded(standard_error, decimals));
}

std::string mebibytes(std::int64_t bytes) {
  const double size = static_cast<double>(bytes) / (1 << 20);
  return rounded(size, size < 10 ? 2 : 0) + " MiB";
}

std::string shell_word(const std::string& path) {
  const auto plain = [](unsigned char c) {
    return std::isalnum(c) != 0 || std::strchr("/._-+=:,@%", c) != nullptr;
  };
  if (std::all_of(path.begin(), path.end(), plain)) return path;
  std::string out = "'";
  for (const char c : path) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

}  // namespace lrqat::cli
