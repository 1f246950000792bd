#include <algorithm>

#include "lrqat/chat/filter_rows.h"

namespace lrqat::chat {
namespace {

struct Keyed {
  Value key;
  Value value;
};

// Python's sorted: stable, and in reverse order still so.
std::vector<Value> sorted(std::vector<Keyed> items, bool reverse, Budget& budget) {
  std::stable_sort(items.begin(), items.end(), [&](const Keyed& a, const Keyed& b) {
    return reverse ? compare(Order::kLess, b.key, a.key, budget)
                   : compare(Order::kLess, a.key, b.key, budget);
  });
  std::vector<Value> out;
  for (Keyed& item : items) out.push_back(std::move(item.value));
  return out;
}

Value key_of(const Value& item, const Value& attribute, bool case_sensitive, Runtime& runtime,
             const Value* fallback = nullptr) {
  const Value key = at_path(item, attribute, runtime, fallback);
  return case_sensitive ? key : ignoring_case(key);
}

// The keys of "a,b.c": a list, as sort takes them.
Value keys_of(const Value& item, const Value& attributes, bool case_sensitive, Runtime& runtime) {
  if (!attributes.is_text()) return Value::list({key_of(item, attributes, case_sensitive, runtime)});
  std::vector<Value> keys;
  const std::string& text = attributes.bytes();
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    keys.push_back(key_of(item, Value(text.substr(begin, end - begin)), case_sensitive, runtime));
    begin = end + 1;
  }
  return Value::list(std::move(keys));
}

Value smallest(Runtime& runtime, const Value& value, const Bound& bound, Order order) {
  const Iterator next = iterate(value);
  auto best = next();
  if (!best) return Value::undefined("No aggregated item, sequence was empty.");
  Value best_key = key_of(*best, bound.get(1, {}), bound.flag(0, false), runtime);
  while (auto item = next()) {
    Value key = key_of(*item, bound.get(1, {}), bound.flag(0, false), runtime);
    if (!compare(order, key, best_key, runtime.budget)) continue;
    best = std::move(item);
    best_key = std::move(key);
  }
  return *best;
}

}  // namespace

Value filter_sort(Runtime& runtime, const Value& value, const Bound& bound) {
  std::vector<Keyed> items;
  for (const Value& item : to_items(value, runtime.budget)) {
    items.push_back({keys_of(item, bound.get(2, {}), bound.flag(1, false), runtime), item});
  }
  return Value::list(sorted(std::move(items), bound.flag(0, false), runtime.budget));
}

Value filter_dictsort(Runtime& runtime, const Value& value, const Bound& bound) {
  const std::string by = bound.find(1) == nullptr ? "key" : bound.text(1).bytes();
  if (by != "key" && by != "value") refuse("You can only sort by either \"key\" or \"value\"");
  if (value.is_undefined()) value.raise_undefined();
  if (!value.is_dict()) refuse("'", value.type_name(), "' object has no attribute 'items'");
  std::vector<Keyed> items;
  for (const auto& [key, member] : value.dict().entries()) {
    const Value& subject = by == "key" ? key : member;
    items.push_back({bound.flag(0, false) ? subject : ignoring_case(subject), Value::tuple({key, member})});
  }
  return Value::list(sorted(std::move(items), bound.flag(2, false), runtime.budget));
}

Value filter_unique(Runtime& runtime, const Value& value, const Bound& bound) {
  const bool case_sensitive = bound.flag(0, false);
  const Value attribute = bound.get(1, {});
  return generator(
      [&runtime, value, case_sensitive, attribute, source = std::optional<Iterator>(),
       seen = Dict()]() mutable -> std::optional<Value> {
        const Budget::Level level(runtime.budget);
        if (!source) source = iterate(value);
        while (auto item = (*source)()) {
          const Value key = key_of(*item, attribute, case_sensitive, runtime);
          if (seen.find(key, runtime.budget) != nullptr) continue;
          runtime.budget.allocate(sizeof(Dict::Entry));
          seen.set(key, true, runtime.budget);
          return item;
        }
        return std::nullopt;
      },
      value);
}

Value filter_groupby(Runtime& runtime, const Value& value, const Bound& bound) {
  const Value* fallback = bound.find(1);
  const bool case_sensitive = bound.flag(2, false);
  std::vector<Keyed> items;
  for (const Value& item : to_items(value, runtime.budget)) {
    items.push_back({key_of(item, bound[0], case_sensitive, runtime, fallback), item});
  }
  std::vector<Value> groups;
  std::vector<Value> members;
  Value key;
  const auto close = [&] {
    if (members.empty()) return;
    const Value shown = case_sensitive ? key : at_path(members.front(), bound[0], runtime, fallback);
    groups.push_back(Value::group(shown, std::move(members)));
    members.clear();
  };
  for (const Value& item : sorted(std::move(items), false, runtime.budget)) {
    const Value own = key_of(item, bound[0], case_sensitive, runtime, fallback);
    if (!members.empty() && !equal(own, key, runtime.budget)) close();
    key = own;
    members.push_back(item);
  }
  close();
  return Value::list(std::move(groups));
}

Value filter_min(Runtime& runtime, const Value& value, const Bound& bound) {
  return smallest(runtime, value, bound, Order::kLess);
}

Value filter_max(Runtime& runtime, const Value& value, const Bound& bound) {
  return smallest(runtime, value, bound, Order::kGreater);
}

}  // namespace lrqat::chat
