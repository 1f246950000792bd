#include "lrqat/chat/number_text.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdio>
#include <string_view>

#include "lrqat/chat/characters.h"
#include "lrqat/chat/operations.h"

namespace lrqat::chat {
namespace {

std::string in_base(std::uint64_t value, unsigned base, bool upper) {
  const std::string_view digits = upper ? "0123456789ABCDEF" : "0123456789abcdef";
  std::string out;
  do {
    out += digits[value % base];
    value /= base;
  } while (value > 0);
  std::reverse(out.begin(), out.end());
  return out;
}

std::string printed(double value, char type, int precision, bool alternate) {
  const std::string pattern = std::string("%") + (alternate ? "#" : "") + ".*" + type;
  char buffer[1024];
  // Long enough: 309 digits before the point and kMostDigits behind it.
  const int size = std::snprintf(buffer, sizeof buffer, pattern.c_str(), precision, value);
  return {buffer, static_cast<std::size_t>(size)};
}

// A separator between every three digits of the whole part (four for the other bases).
std::string grouped(const std::string& digits, const NumberFormat& format) {
  if (format.grouping == 0) return digits;
  const std::size_t whole = std::min(digits.find_first_not_of("0123456789abcdefABCDEF"), digits.size());
  const std::size_t every =
      format.type == 'x' || format.type == 'X' || format.type == 'b' || format.type == 'o' ? 4 : 3;
  std::string out;
  for (std::size_t i = 0; i < whole; ++i) {
    if (i > 0 && (whole - i) % every == 0) out += format.grouping;
    out += digits[i];
  }
  return out + digits.substr(whole);
}

}  // namespace

std::string integer_digits(std::int64_t value, const NumberFormat& format) {
  const auto bits = static_cast<std::uint64_t>(value);
  const std::uint64_t magnitude = value < 0 ? 0 - bits : bits;
  switch (format.type) {
    case 0:
    case 'd':
    case 'i':
    case 'u':
    case 'n':
      return in_base(magnitude, 10, false);
    case 'x':
      return (format.alternate ? "0x" : "") + in_base(magnitude, 16, false);
    case 'X':
      return (format.alternate ? "0X" : "") + in_base(magnitude, 16, true);
    case 'o':
      return (format.alternate ? "0o" : "") + in_base(magnitude, 8, false);
    case 'b':
      return (format.alternate ? "0b" : "") + in_base(magnitude, 2, false);
    default:
      return real_digits(static_cast<double>(magnitude), format);
  }
}

std::string real_digits(double value, const NumberFormat& format) {
  const double magnitude = std::fabs(value);
  const bool upper = format.type == 'F' || format.type == 'E' || format.type == 'G';
  if (!std::isfinite(value)) {
    const std::string name = std::isnan(value) ? "nan" : "inf";
    return upper ? upper_case(name) : format.type == '%' ? name + "%" : name;
  }
  const int precision = format.precision < 0 ? 6 : format.precision;
  switch (format.type) {
    case 'f':
    case 'F':
      return printed(magnitude, 'f', precision, format.alternate);
    case 'e':
    case 'E':
    case 'g':
    case 'G':
      return printed(magnitude, format.type, precision, format.alternate);
    case 'n':
      return printed(magnitude, 'g', precision, format.alternate);
    case '%':
      return printed(magnitude * 100, 'f', precision, format.alternate) + "%";
    case 0:
      break;
    default:
      refuse("Unknown format code '", format.type, "' for object of type 'float'");
  }
  if (format.precision < 0) return repr_of_float(magnitude);
  // As 'g', but with a digit behind the point where there is no exponent.
  const std::string digits = printed(magnitude, 'g', std::max(precision, 1), false);
  return digits.find_first_of(".e") == std::string::npos ? digits + ".0" : digits;
}

std::string arranged(bool negative, const std::string& digits, const NumberFormat& format) {
  const std::string sign(negative ? 1 : format.sign == '-' ? 0 : 1, negative ? '-' : format.sign);
  const bool prefixed = digits.size() > 1 && digits[0] == '0' &&
                        std::isalpha(static_cast<unsigned char>(digits[1])) && format.alternate;
  const std::string prefix = sign + (prefixed ? digits.substr(0, 2) : "");
  const std::string body = grouped(prefixed ? digits.substr(2) : digits, format);
  const std::size_t size = prefix.size() + body.size();
  const std::size_t missing = format.width > size ? format.width - size : 0;
  const auto filling = [&](std::size_t count) {
    std::string out;
    for (std::size_t i = 0; i < count; ++i) out += format.fill;
    return out;
  };
  if (format.align == '=') return prefix + filling(missing) + body;
  const std::size_t left = format.align == '>' ? missing : format.align == '^' ? missing / 2 : 0;
  return filling(left) + prefix + body + filling(missing - left);
}

}  // namespace lrqat::chat
