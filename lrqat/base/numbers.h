// Numbers as flags and recipe files write them: one grammar for both. Decimal digits, an optional sign, _
// between digits; reals also with point and exponent. Nothing else: no inf, no nan, no hexadecimal digits.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

namespace lrqat {

// UsageError "`NAME` "TEXT": expected …" where the text is no such number or lies outside [least, most].
std::int64_t parse_integer(std::string_view name, std::string_view text, std::int64_t least,
                           std::int64_t most);
std::uint64_t parse_unsigned(std::string_view name, std::string_view text);  // 0 to 2^64 - 1
double parse_real(std::string_view name, std::string_view text, double least,
                  double most = std::numeric_limits<double>::max());
// "8GB", "512MiB" or a number of bytes.
std::int64_t parse_bytes(std::string_view name, std::string_view text);

}  // namespace lrqat
