// Numbers written by a format: what "%08.3f" % x and "{:,.2f}".format(x) have in common.
#pragma once

#include <cstdint>
#include <string>

namespace lrqat::chat {

struct NumberFormat {
  std::string fill = " ";
  char align = '>';  // one of < > ^ =
  char sign = '-';   // one of + - space
  bool alternate = false;
  std::size_t width = 0;
  char grouping = 0;   // ',' or '_'
  int precision = -1;  // -1: none given
  char type = 0;       // 0: none given
};

inline constexpr std::size_t kWidest = 10'000'000;  // characters
inline constexpr int kMostDigits = 500;

// Digits without sign and filling; Failure where the type is not one of numbers.
std::string integer_digits(std::int64_t value, const NumberFormat& format);
std::string real_digits(double value, const NumberFormat& format);
// Sign, prefix, grouping, filling.
std::string arranged(bool negative, const std::string& digits, const NumberFormat& format);

}  // namespace lrqat::chat
