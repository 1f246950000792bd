// Equality, order and membership of values.
#include <algorithm>

#include "lrqat/chat/operations.h"

namespace lrqat::chat {
namespace {

// Exact, also where an integer is no double.
int compare_numbers(const Value& a, const Value& b) {
  if (a.is_whole() && b.is_whole()) {
    return a.integer() < b.integer() ? -1 : a.integer() > b.integer() ? 1 : 0;
  }
  const long double x = a.is_whole() ? static_cast<long double>(a.integer()) : a.real();
  const long double y = b.is_whole() ? static_cast<long double>(b.integer()) : b.real();
  return x < y ? -1 : x > y ? 1 : x == y ? 0 : 2;  // 2: not a number
}

bool equal_dicts(const Dict& a, const Dict& b, Budget& budget) {
  if (a.size() != b.size()) return false;
  for (const auto& [key, value] : a.entries()) {
    const Value* other = b.find(key, budget);
    if (other == nullptr || !equal(value, *other, budget)) return false;
  }
  return true;
}

// Keys and items are sets.
bool equal_views(const Value& a, const Value& b, Budget& budget) {
  if (length(a) != length(b)) return false;
  const Iterator next = iterate(a);
  while (const auto member = next()) {
    if (!contains(b, *member, budget)) return false;
  }
  return true;
}

bool holds(Order order, int sign) {
  if (sign == 2) return false;
  switch (order) {
    case Order::kLess:
      return sign < 0;
    case Order::kLessEqual:
      return sign <= 0;
    case Order::kGreater:
      return sign > 0;
    default:
      return sign >= 0;
  }
}

const char* symbol(Order order) {
  switch (order) {
    case Order::kLess:
      return "<";
    case Order::kLessEqual:
      return "<=";
    case Order::kGreater:
      return ">";
    default:
      return ">=";
  }
}

int sign_of(int difference) { return difference < 0 ? -1 : difference > 0 ? 1 : 0; }

}  // namespace

bool equal(const Value& a, const Value& b, Budget& budget) {
  const Budget::Level level(budget);
  budget.step();
  if (a.is_number() && b.is_number()) return compare_numbers(a, b) == 0;
  if (a.is_text() && b.is_text()) return a.bytes() == b.bytes();
  if (a.is_undefined() || b.is_undefined()) return a.is_undefined() && b.is_undefined();
  if (a.is_sequence() && b.is_sequence()) {
    if (a.sequence().tuple != b.sequence().tuple) return false;
    if (&a.sequence() == &b.sequence()) return true;
    return std::equal(a.items().begin(), a.items().end(), b.items().begin(), b.items().end(),
                      [&](const Value& x, const Value& y) { return equal(x, y, budget); });
  }
  if (a.is_dict() && b.is_dict()) return &a.dict() == &b.dict() || equal_dicts(a.dict(), b.dict(), budget);
  const auto* view = a.object_as<DictView>();
  const auto* other_view = b.object_as<DictView>();
  if (view != nullptr && other_view != nullptr && view->is_set() && other_view->is_set())
    return equal_views(a, b, budget);
  const auto* range = a.object_as<Range>();
  const auto* other = b.object_as<Range>();
  if (range != nullptr && other != nullptr) return range->equals(*other);
  return a.same_as(b);
}

bool compare(Order order, const Value& a, const Value& b, Budget& budget) {
  const Budget::Level level(budget);
  budget.step();
  if (a.is_undefined()) a.raise_undefined();
  if (b.is_undefined()) b.raise_undefined();
  if (a.is_number() && b.is_number()) return holds(order, compare_numbers(a, b));
  if (a.is_text() && b.is_text()) return holds(order, sign_of(a.bytes().compare(b.bytes())));
  if (a.is_sequence() && b.is_sequence() && a.sequence().tuple == b.sequence().tuple) {
    const std::size_t shorter = std::min(a.items().size(), b.items().size());
    for (std::size_t i = 0; i < shorter; ++i) {
      if (!equal(a.items()[i], b.items()[i], budget))
        return compare(order, a.items()[i], b.items()[i], budget);
    }
    const auto difference =
        static_cast<std::int64_t>(a.items().size()) - static_cast<std::int64_t>(b.items().size());
    return holds(order, difference < 0 ? -1 : difference > 0 ? 1 : 0);
  }
  refuse("'", symbol(order), "' not supported between instances of '", a.type_name(), "' and '",
         b.type_name(), "'");
}

bool contains(const Value& container, const Value& item, Budget& budget) {
  if (container.is_text()) {
    if (!item.is_text()) refuse("'in <string>' requires string as left operand, not ", item.type_name());
    budget.step(container.text().size() / 64);
    return container.bytes().find(item.bytes()) != std::string::npos;
  }
  if (container.is_dict()) return container.dict().find(item, budget) != nullptr;
  if (const auto* view = container.object_as<DictView>()) {
    if (const auto found = view->contains_key(item, budget)) return *found;
  }
  if (!is_iterable(container)) refuse("argument of type '", container.type_name(), "' is not iterable");
  const Iterator next = iterate(container);
  while (const auto member = next()) {
    if (equal(*member, item, budget)) return true;
  }
  return false;
}

}  // namespace lrqat::chat
