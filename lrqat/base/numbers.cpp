#include "lrqat/base/numbers.h"

#include <charconv>
#include <cmath>
#include <utility>

#include "lrqat/base/error.h"
#include "lrqat/base/field_names.h"
#include "lrqat/base/user_text.h"

namespace lrqat {
namespace {

[[noreturn]] void fail_value(std::string_view name, std::string_view text, const std::string& expected) {
  throw UsageError(concat(field_name(name), " ", quote(text), ": expected ", expected));
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Without a leading + and without _ between digits, as std::from_chars reads numbers.
std::string plain(std::string_view text) {
  if (text.size() > 1 && text[0] == '+' && (is_digit(text[1]) || text[1] == '.')) text.remove_prefix(1);
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool between = i > 0 && i + 1 < text.size() && is_digit(text[i - 1]) && is_digit(text[i + 1]);
    if (text[i] != '_' || !between) out.push_back(text[i]);
  }
  return out;
}

// False where the text is no number of the type T.
template <typename T>
bool read_number(std::string_view text, T& value) {
  const std::string digits = plain(text);
  const auto [end, fault] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  return fault == std::errc{} && end == digits.data() + digits.size();
}

}  // namespace

std::int64_t parse_integer(std::string_view name, std::string_view text, std::int64_t least,
                           std::int64_t most) {
  std::int64_t value = 0;
  if (read_number(text, value) && value >= least && value <= most) return value;
  fail_value(name, text, concat("a whole number from ", least, " to ", most));
}

std::uint64_t parse_unsigned(std::string_view name, std::string_view text) {
  std::uint64_t value = 0;
  if (read_number(text, value)) return value;
  fail_value(name, text, concat("a whole number from 0 to ", std::numeric_limits<std::uint64_t>::max()));
}

double parse_real(std::string_view name, std::string_view text, double least, double most) {
  double value = 0.0;
  if (read_number(text, value) && std::isfinite(value) && value >= least && value <= most) return value;
  const bool bounded = most < std::numeric_limits<double>::max();
  fail_value(name, text,
             bounded ? concat("a number from ", least, " to ", most)
                     : concat("a finite number of ", least, " or more"));
}

std::int64_t parse_bytes(std::string_view name, std::string_view text) {
  static constexpr std::pair<std::string_view, double> kUnits[] = {
      {"KiB", 1024.0}, {"MiB", 1048576.0}, {"GiB", 1073741824.0}, {"KB", 1e3},
      {"MB", 1e6},     {"GB", 1e9},        {"TB", 1e12},          {"B", 1.0}};
  constexpr std::int64_t kMost = 1'000'000'000'000'000'000;
  double factor = 0.0;
  std::string_view number = text;
  for (const auto& [unit, bytes] : kUnits) {
    if (factor != 0.0 || !text.ends_with(unit)) continue;
    factor = bytes;
    number.remove_suffix(unit.size());
  }
  std::int64_t whole = 0;
  double value = 0.0;
  if (factor == 0.0 && read_number(number, whole) && whole >= 0 && whole <= kMost) return whole;
  // written so that nan is refused too
  if (factor != 0.0 && read_number(number, value) && value >= 0.0 &&
      value * factor <= static_cast<double>(kMost)) {
    return static_cast<std::int64_t>(value * factor);
  }
  fail_value(name, text, "a size as 8GB, 512MiB or a number of bytes, from 0 to 10^18");
}

}  // namespace lrqat
