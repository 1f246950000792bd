#include <algorithm>

#include "lrqat/chat/filter_rows.h"
#include "lrqat/chat/methods.h"

namespace lrqat::chat {
namespace {

using Change = std::function<Value(const Value&)>;
using Condition = std::function<bool(const Value&)>;

// A generator that begins to look at `value` when its first item is wanted, as Python's generator functions
// do. `if_true`: one of a value that is false, None among them, is empty.
Value lazily(Runtime& runtime, const Value& value, bool if_true,
             std::function<std::optional<Value>(const Iterator&)> next) {
  Budget* budget = &runtime.budget;
  return generator(
      [value, budget, if_true, next = std::move(next),
       source = Iterator()]() mutable -> std::optional<Value> {
        const Budget::Level level(*budget);
        budget->step();
        if (if_true && !value.truth()) return std::nullopt;
        if (!source) source = iterate(value);
        return next(source);
      },
      value);
}

// What map does with an item: looks up an attribute or calls a filter.
Change prepare_map(Runtime& runtime, Arguments arguments) {
  if (arguments.positional.empty() && arguments.find("attribute") != nullptr) {
    for (const auto& [name, value] : arguments.named) {
      if (name != "attribute" && name != "default") refuse("Unexpected keyword argument '", name, "'");
    }
    return [&runtime, arguments](const Value& item) {
      return at_path(item, *arguments.find("attribute"), runtime, arguments.find("default"));
    };
  }
  if (arguments.positional.empty()) refuse("map requires a filter argument");
  const Value name = arguments.positional.front();
  arguments.positional.erase(arguments.positional.begin());
  return [&runtime, name, arguments](const Value& item) {
    if (!name.is_text()) refuse("No filter named ", repr(name, runtime.budget), ".");
    return call_filter(runtime, name.bytes(), item, arguments);
  };
}

Condition prepare_select(Runtime& runtime, Arguments arguments, bool attribute) {
  Value path;
  if (attribute) {
    if (arguments.positional.empty()) refuse("Missing parameter for attribute name");
    path = arguments.positional.front();
    arguments.positional.erase(arguments.positional.begin());
  }
  const bool by_truth = arguments.positional.empty();
  const Value name = by_truth ? Value() : arguments.positional.front();
  if (!by_truth) arguments.positional.erase(arguments.positional.begin());
  return [&runtime, path, name, by_truth, arguments, attribute](const Value& item) {
    const Value subject = attribute ? at_path(item, path, runtime) : item;
    if (by_truth) return subject.truth();
    if (!name.is_text()) refuse("No test named ", repr(name, runtime.budget), ".");
    return call_test(runtime, name.bytes(), subject, arguments);
  };
}

Value select(Runtime& runtime, const Value& value, const Bound& bound, bool attribute, bool wanted) {
  return lazily(runtime, value, true,
                [&runtime, attribute, wanted, arguments = bound.rest(),
                 condition = Condition()](const Iterator& source) mutable -> std::optional<Value> {
                  if (!condition) condition = prepare_select(runtime, arguments, attribute);
                  while (auto item = source()) {
                    runtime.budget.step();
                    if (condition(*item) == wanted) return item;
                  }
                  return std::nullopt;
                });
}

}  // namespace

Value filter_length(Runtime&, const Value& value, const Bound&) {
  return static_cast<std::int64_t>(length(value));
}

Value filter_list(Runtime& runtime, const Value& value, const Bound&) {
  return Value::list(to_items(value, runtime.budget));
}

Value filter_first(Runtime&, const Value& value, const Bound&) {
  auto item = iterate(value)();
  return item ? *std::move(item) : Value::undefined("No first item, sequence was empty.");
}

Value filter_last(Runtime&, const Value& value, const Bound&) {
  auto item = iterate_back(value)();
  return item ? *std::move(item) : Value::undefined("No last item, sequence was empty.");
}

Value filter_join(Runtime& runtime, const Value& value, const Bound& bound) {
  const bool by_attribute = bound.find(1) != nullptr && !bound[1].is_none();
  std::vector<Text> parts;
  for (const Value& item : to_items(value, runtime.budget)) {
    parts.push_back(to_text(by_attribute ? at_path(item, bound[1], runtime) : item, runtime.budget));
  }
  return joined(to_text(bound.get(0, ""), runtime.budget), parts, runtime.budget);
}

Value filter_reverse(Runtime& runtime, const Value& value, const Bound&) {
  if (value.is_text()) {
    return slice_of(value, {}, {}, std::int64_t{-1}, runtime.budget);
  }
  const bool reversible = !value.is_object() || value.object()->iterate_back().has_value();
  if (reversible && is_iterable(value)) return generator(iterate_back(value), value);
  if (!is_iterable(value)) refuse("argument must be iterable");
  std::vector<Value> items = to_items(value, runtime.budget);
  std::reverse(items.begin(), items.end());
  return Value::list(std::move(items));
}

Value filter_items(Runtime& runtime, const Value& value, const Bound&) {
  return lazily(runtime, value, false,
                [value, items = Iterator()](const Iterator&) mutable -> std::optional<Value> {
                  if (value.is_undefined()) return std::nullopt;
                  if (!value.is_dict()) refuse("Can only get item pairs from a mapping.");
                  if (!items) items = *DictView(value, DictView::Part::kItems).iterate();
                  return items();
                });
}

Value filter_map(Runtime& runtime, const Value& value, const Bound& bound) {
  return lazily(runtime, value, true,
                [&runtime, arguments = bound.rest(),
                 change = Change()](const Iterator& source) mutable -> std::optional<Value> {
                  if (!change) change = prepare_map(runtime, arguments);
                  const auto item = source();
                  return item ? std::optional(change(*item)) : std::nullopt;
                });
}

Value filter_select(Runtime& runtime, const Value& value, const Bound& bound) {
  return select(runtime, value, bound, false, true);
}
Value filter_reject(Runtime& runtime, const Value& value, const Bound& bound) {
  return select(runtime, value, bound, false, false);
}
Value filter_selectattr(Runtime& runtime, const Value& value, const Bound& bound) {
  return select(runtime, value, bound, true, true);
}
Value filter_rejectattr(Runtime& runtime, const Value& value, const Bound& bound) {
  return select(runtime, value, bound, true, false);
}

Value filter_batch(Runtime& runtime, const Value& value, const Bound& bound) {
  const std::int64_t size = bound.integer(0, 0);
  const Value fill = bound.get(1, {});
  if (size < 1) refuse("batch: at least one item a batch is expected, not ", size);
  return lazily(runtime, value, false,
                [&runtime, size, fill](const Iterator& source) -> std::optional<Value> {
                  std::vector<Value> items;
                  while (static_cast<std::int64_t>(items.size()) < size) {
                    auto item = source();
                    if (!item) break;
                    runtime.budget.allocate(sizeof(Value));
                    items.push_back(*std::move(item));
                  }
                  if (items.empty()) return std::nullopt;
                  while (!fill.is_none() && static_cast<std::int64_t>(items.size()) < size) {
                    runtime.budget.allocate(sizeof(Value));
                    items.push_back(fill);
                  }
                  return Value::list(std::move(items));
                });
}

Value filter_slice(Runtime& runtime, const Value& value, const Bound& bound) {
  const std::int64_t slices = bound.integer(0, 0);
  const Value fill = bound.get(1, {});
  const std::vector<Value> items = to_items(value, runtime.budget);
  if (slices == 0) refuse("integer division or modulo by zero");
  const auto size = static_cast<std::int64_t>(items.size());
  std::vector<Value> out;
  std::int64_t begin = 0;
  for (std::int64_t number = 0; number < slices; ++number) {
    const bool extra = number < size % slices;
    const std::int64_t end = begin + size / slices + (extra ? 1 : 0);
    runtime.budget.allocate(sizeof(Value) * static_cast<std::size_t>(end - begin + 1));
    std::vector<Value> part(items.begin() + begin, items.begin() + end);
    if (!fill.is_none() && !extra) part.push_back(fill);
    out.push_back(Value::list(std::move(part)));
    begin = end;
  }
  return generator(iterate(Value::list(std::move(out))), value);
}

Value filter_attr(Runtime& runtime, const Value& value, const Bound& bound) {
  const std::string name = to_text(bound[0], runtime.budget).bytes();
  if (auto attribute = own_attribute(value, name)) return *std::move(attribute);
  return Value::undefined(concat("'", value.type_name(), " object' has no attribute '", name, "'"));
}

}  // namespace lrqat::chat
