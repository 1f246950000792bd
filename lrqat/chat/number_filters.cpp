#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <optional>

#include "lrqat/chat/characters.h"
#include "lrqat/chat/filter_rows.h"

namespace lrqat::chat {
namespace {

std::string stripped_bytes(const std::string& text) {
  const Part part = stripped(text, true, true);
  return text.substr(part.begin, part.end - part.begin);
}

// Without the underscores that Python allows between digits; nullopt where one stands elsewhere.
std::optional<std::string> without_underscores(const std::string& text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') {
      out += text[i];
      continue;
    }
    const auto digit = [&](std::size_t at) {
      return at < text.size() && std::isalnum(static_cast<unsigned char>(text[at])) != 0;
    };
    if (i == 0 || !digit(i - 1) || !digit(i + 1)) return std::nullopt;
  }
  return out;
}

// int(text, base); nullopt where Python raises a ValueError.
std::optional<std::int64_t> parse_integer(const std::string& given, std::int64_t base) {
  if (base != 0 && (base < 2 || base > 36)) return std::nullopt;
  std::string text = without_underscores(stripped_bytes(given)).value_or("");
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.erase(0, 1);
  constexpr std::pair<const char*, std::int64_t> kPrefixes[] = {{"0x", 16}, {"0o", 8}, {"0b", 2}};
  bool prefixed = false;
  for (const auto& [prefix, its_base] : kPrefixes) {
    if ((base != its_base && base != 0) || lower_case(text.substr(0, 2)) != prefix) continue;
    base = its_base;
    text.erase(0, 2);
    prefixed = true;
    break;
  }
  const bool zeros = text.find_first_not_of('0') == std::string::npos;
  if (base == 0 && !prefixed && text.starts_with('0') && !zeros) return std::nullopt;
  if (base == 0) base = 10;
  if (text.empty()) return std::nullopt;
  std::int64_t value = 0;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const int digit = std::isdigit(byte) != 0   ? c - '0'
                      : std::isalpha(byte) != 0 ? std::tolower(byte) - 'a' + 10
                                                : 99;
    if (digit >= base) return std::nullopt;
    if (__builtin_mul_overflow(value, base, &value) || __builtin_add_overflow(value, digit, &value)) {
      refuse("the integer ", given, " has more than 64 bits");
    }
  }
  return negative ? -value : value;
}

// float(text)
std::optional<double> parse_real(const std::string& given) {
  const std::string text = lower_case(without_underscores(stripped_bytes(given)).value_or(""));
  const std::string name = text.substr(text.starts_with('-') || text.starts_with('+') ? 1 : 0);
  const double sign = text.starts_with('-') ? -1 : 1;
  if (name == "inf" || name == "infinity") return sign * std::numeric_limits<double>::infinity();
  if (name == "nan") return std::numeric_limits<double>::quiet_NaN();
  if (text.empty() || text.find_first_not_of("0123456789.e+-") != std::string::npos) return std::nullopt;
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  return *end == '\0' && name.find_first_of("0123456789") != std::string::npos ? std::optional(value)
                                                                               : std::nullopt;
}

std::optional<double> real_of(const Value& value) {
  if (value.is_number()) return value.real();
  return value.is_text() ? parse_real(value.bytes()) : std::nullopt;
}

double rounded(double value, std::int64_t digits) {
  if (!std::isfinite(value) || digits > 300) return value;
  if (digits < -300) return std::copysign(0.0, value);
  if (digits >= 0) {
    char buffer[800];  // exact decimals, half to even, as Python has it
    std::snprintf(buffer, sizeof buffer, "%.*f", static_cast<int>(digits), value);
    return std::strtod(buffer, nullptr);
  }
  const double scale = std::pow(10.0, static_cast<double>(-digits));
  return std::nearbyint(value / scale) * scale;
}

// round(int, -n): to a multiple of a power of ten, half to even.
std::int64_t rounded(std::int64_t value, std::int64_t digits) {
  if (digits >= 0) return value;
  if (digits < -18) return 0;
  std::int64_t scale = 1;
  for (std::int64_t i = digits; i < 0; ++i) scale *= 10;
  const std::int64_t rest = ((value % scale) + scale) % scale;
  const std::int64_t low = value - rest;
  const bool up = rest * 2 > scale || (rest * 2 == scale && (low / scale) % 2 != 0);
  return up ? low + scale : low;
}

}  // namespace

Value filter_abs(Runtime&, const Value& value, const Bound&) {
  if (value.is_float()) return std::fabs(value.real());
  if (!value.is_whole()) refuse("bad operand type for abs(): '", value.type_name(), "'");
  return value.integer() < 0 ? negative(value) : Value(value.integer());
}

Value filter_int(Runtime&, const Value& value, const Bound& bound) {
  const Value fallback = bound.get(0, std::int64_t{0});
  if (value.is_undefined()) value.raise_undefined();
  if (value.is_whole()) return value.integer();
  if (value.is_text()) {
    if (const auto integer = parse_integer(value.bytes(), bound.integer(1, 10))) return *integer;
  }
  const auto real = real_of(value);
  if (!real || std::isnan(*real)) return fallback;
  if (std::isinf(*real)) {
    if (value.is_float()) refuse("cannot convert float infinity to integer");
    return fallback;
  }
  if (std::fabs(*real) >= 0x1p63) refuse("the integer of ", *real, " has more than 64 bits");
  return static_cast<std::int64_t>(*real);
}

Value filter_float(Runtime&, const Value& value, const Bound& bound) {
  if (value.is_undefined()) value.raise_undefined();
  const auto real = real_of(value);
  return real ? Value(*real) : bound.get(0, 0.0);
}

Value filter_round(Runtime&, const Value& value, const Bound& bound) {
  const std::string method = bound.find(1) == nullptr ? "common" : bound.text(1).bytes();
  if (method != "common" && method != "ceil" && method != "floor")
    refuse("method must be common, ceil or floor");
  if (value.is_undefined()) value.raise_undefined();
  if (!value.is_number()) refuse("type ", value.type_name(), " doesn't define __round__ method");
  const bool none = bound.find(0) != nullptr && bound[0].is_none();
  const std::int64_t digits = none ? 0 : bound.integer(0, 0);
  if (method == "common") {
    if (value.is_whole()) return rounded(value.integer(), digits);
    const double result = rounded(value.real(), digits);
    return none ? Value(static_cast<std::int64_t>(result)) : Value(result);
  }
  const double scale = std::pow(10.0, static_cast<double>(digits));
  const double scaled = value.real() * scale;
  if (!std::isfinite(scaled)) refuse("cannot convert float to integer");
  return (method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / scale;
}

Value filter_sum(Runtime& runtime, const Value& value, const Bound& bound) {
  Value total = bound.get(1, std::int64_t{0});
  if (total.is_text()) refuse("sum() can't sum strings [use ''.join(seq) instead]");
  const bool by_attribute = bound.find(0) != nullptr && !bound[0].is_none();
  for (const Value& item : to_items(value, runtime.budget)) {
    total = calculate(Operator::kAdd, total, by_attribute ? at_path(item, bound[0], runtime) : item, runtime);
  }
  return total;
}

Value filter_filesizeformat(Runtime&, const Value& value, const Bound& bound) {
  const auto bytes = real_of(value);
  if (!bytes) refuse("filesizeformat: a number is expected, found ", value.type_name());
  const bool binary = bound.flag(0, false);
  const double base = binary ? 1024 : 1000;
  if (*bytes == 1) return "1 Byte";
  if (*bytes < base) return concat(static_cast<std::int64_t>(*bytes), " Bytes");
  constexpr const char* kUnits[] = {"k", "M", "G", "T", "P", "E", "Z", "Y"};
  double unit = base * base;
  std::size_t i = 0;
  for (; i < 7 && *bytes >= unit; ++i) unit *= base;
  char buffer[400];
  std::snprintf(buffer, sizeof buffer, "%.1f ", base * *bytes / unit);
  return std::string(buffer) +
         (binary ? std::string(i == 0 ? "K" : kUnits[i]) + "iB" : std::string(kUnits[i]) + "B");
}

}  // namespace lrqat::chat
