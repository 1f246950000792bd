// Python's arithmetic on values.
#include <algorithm>
#include <cmath>
#include <limits>

#include "lrqat/chat/format.h"
#include "lrqat/chat/operations.h"

namespace lrqat::chat {
namespace {

const char* symbol(Operator operation) {
  switch (operation) {
    case Operator::kAdd:
      return "+";
    case Operator::kSubtract:
      return "-";
    case Operator::kMultiply:
      return "*";
    case Operator::kDivide:
      return "/";
    case Operator::kFloorDivide:
      return "//";
    case Operator::kModulo:
      return "%";
    default:
      return "** or pow()";
  }
}

[[noreturn]] void refuse_operands(Operator operation, const Value& a, const Value& b) {
  refuse("unsupported operand type(s) for ", symbol(operation), ": '", a.type_name(), "' and '",
         b.type_name(), "'");
}

[[noreturn]] void refuse_overflow() { refuse("an integer of more than 64 bits, which lrqat does not have"); }

std::int64_t floor_divided(std::int64_t a, std::int64_t b) {
  if (b == 0) refuse("integer division or modulo by zero");
  if (b == -1) {
    if (a == std::numeric_limits<std::int64_t>::min()) refuse_overflow();
    return -a;
  }
  const std::int64_t quotient = a / b;
  return quotient - (a % b != 0 && (a < 0) != (b < 0) ? 1 : 0);
}

std::int64_t remainder(std::int64_t a, std::int64_t b) {
  if (b == 0) refuse("integer modulo by zero");
  if (b == -1) return 0;
  const std::int64_t rest = a % b;
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

double remainder(double a, double b) {
  if (b == 0) refuse("float modulo");
  const double rest = std::fmod(a, b);
  if (rest == 0) return std::copysign(0.0, b);
  return (rest < 0) != (b < 0) ? rest + b : rest;
}

double floor_divided(double a, double b) {
  if (b == 0) refuse("float floor division by zero");
  const double rest = std::fmod(a, b);
  double quotient = (a - rest) / b;
  if (rest != 0 && (b < 0) != (rest < 0)) quotient -= 1;
  if (quotient == 0) return std::copysign(0.0, a / b);
  const double floor = std::floor(quotient);
  return quotient - floor > 0.5 ? floor + 1 : floor;
}

Value power(std::int64_t base, std::int64_t exponent) {
  if (exponent < 0) {
    if (base == 0) refuse("0.0 cannot be raised to a negative power");
    return std::pow(static_cast<double>(base), static_cast<double>(exponent));
  }
  if (base == 0 || base == 1 || base == -1) {  // the only ones that may have a large exponent
    return exponent == 0 ? std::int64_t{1} : base == -1 && exponent % 2 == 0 ? std::int64_t{1} : base;
  }
  std::int64_t result = 1;
  for (; exponent > 0; --exponent) {
    if (__builtin_mul_overflow(result, base, &result)) refuse_overflow();
  }
  return result;
}

Value calculate_whole(Operator operation, std::int64_t a, std::int64_t b) {
  std::int64_t result = 0;
  switch (operation) {
    case Operator::kAdd:
      if (__builtin_add_overflow(a, b, &result)) refuse_overflow();
      return result;
    case Operator::kSubtract:
      if (__builtin_sub_overflow(a, b, &result)) refuse_overflow();
      return result;
    case Operator::kMultiply:
      if (__builtin_mul_overflow(a, b, &result)) refuse_overflow();
      return result;
    case Operator::kDivide:
      if (b == 0) refuse("division by zero");
      return static_cast<double>(static_cast<long double>(a) / static_cast<long double>(b));
    case Operator::kFloorDivide:
      return floor_divided(a, b);
    case Operator::kModulo:
      return remainder(a, b);
    default:
      return power(a, b);
  }
}

Value calculate_real(Operator operation, double a, double b) {
  switch (operation) {
    case Operator::kAdd:
      return a + b;
    case Operator::kSubtract:
      return a - b;
    case Operator::kMultiply:
      return a * b;
    case Operator::kDivide:
      if (b == 0) refuse("float division by zero");
      return a / b;
    case Operator::kFloorDivide:
      return floor_divided(a, b);
    case Operator::kModulo:
      return remainder(a, b);
    default:
      break;
  }
  if (a == 0 && b < 0) refuse("0.0 cannot be raised to a negative power");
  const double result = std::pow(a, b);
  if (std::isnan(result) && !std::isnan(a) && !std::isnan(b))
    refuse("complex numbers, which lrqat does not have");
  if (std::isinf(result) && std::isfinite(a) && std::isfinite(b)) refuse("Numerical result out of range");
  return result;
}

Value add_texts(const Value& a, const Value& b, Budget& budget) {
  const bool markup = a.text().markup() || b.text().markup();
  budget.allocate(a.text().size() + b.text().size());
  if (!markup) {
    Text out = a.text();
    out.append(b.text());
    return out;
  }
  Text out = escaped(a, budget);
  out.append(escaped(b, budget));
  return out;
}

Value add_sequences(const Value& a, const Value& b, Budget& budget) {
  budget.allocate((a.items().size() + b.items().size()) * sizeof(Value));
  std::vector<Value> items = a.items();
  items.insert(items.end(), b.items().begin(), b.items().end());
  return a.is_tuple() ? Value::tuple(std::move(items)) : Value::list(std::move(items));
}

Value repeated(const Value& value, std::int64_t count, Budget& budget) {
  const auto times = static_cast<std::size_t>(std::max<std::int64_t>(count, 0));
  const std::size_t size = value.is_text() ? value.text().size() : value.items().size() * sizeof(Value);
  constexpr std::size_t kTooMany = std::size_t{1} << 40;
  budget.allocate(size > 0 && times > kTooMany / size ? kTooMany : size * times);
  if (value.is_text()) {
    Text out = Text("").with_markup(value.text().markup());
    for (std::size_t i = 0; i < times && size > 0; ++i) out.append(value.text());
    return out;
  }
  std::vector<Value> items;
  for (std::size_t i = 0; i < times && size > 0; ++i) {
    items.insert(items.end(), value.items().begin(), value.items().end());
  }
  return value.is_tuple() ? Value::tuple(std::move(items)) : Value::list(std::move(items));
}

bool can_repeat(const Value& value) { return value.is_text() || value.is_sequence(); }

}  // namespace

Value calculate(Operator operation, const Value& a, const Value& b, Runtime& runtime) {
  Budget& budget = runtime.budget;
  if (operation == Operator::kModulo && a.is_text()) return percent_format(a.text(), b, runtime);
  if (a.is_undefined()) a.raise_undefined();
  if (b.is_undefined()) b.raise_undefined();
  if (a.is_number() && b.is_number()) {
    if (a.is_whole() && b.is_whole()) return calculate_whole(operation, a.integer(), b.integer());
    return calculate_real(operation, a.real(), b.real());
  }
  if (operation == Operator::kAdd) {
    if (a.is_text() && b.is_text()) return add_texts(a, b, budget);
    if (a.is_sequence() && b.is_sequence() && a.is_tuple() == b.is_tuple())
      return add_sequences(a, b, budget);
    if (a.is_text()) refuse("can only concatenate str (not \"", b.type_name(), "\") to str");
  }
  if (operation == Operator::kMultiply) {
    if (can_repeat(a) && b.is_whole()) return repeated(a, b.integer(), budget);
    if (can_repeat(b) && a.is_whole()) return repeated(b, a.integer(), budget);
  }
  refuse_operands(operation, a, b);
}

Value negative(const Value& value) {
  if (value.is_undefined()) value.raise_undefined();
  if (value.is_float()) return -value.real();
  if (!value.is_whole()) refuse("bad operand type for unary -: '", value.type_name(), "'");
  if (value.integer() == std::numeric_limits<std::int64_t>::min()) refuse_overflow();
  return -value.integer();
}

Value positive(const Value& value) {
  if (value.is_undefined()) value.raise_undefined();
  if (value.is_float()) return value;
  if (!value.is_whole()) refuse("bad operand type for unary +: '", value.type_name(), "'");
  return value.integer();
}

}  // namespace lrqat::chat
