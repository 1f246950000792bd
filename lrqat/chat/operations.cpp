#include "lrqat/chat/operations.h"

#include <algorithm>

#include "lrqat/chat/characters.h"
#include "lrqat/chat/methods.h"

namespace lrqat::chat {
namespace {

Iterator walk_items(const Value& value, bool back) {
  return [value, back, index = std::size_t{0}]() mutable -> std::optional<Value> {
    const auto& items = value.items();
    if (index >= items.size()) return std::nullopt;
    const std::size_t at = index++;
    return items[back ? items.size() - 1 - at : at];
  };
}

Iterator walk_characters(const Value& value) {
  return [value, at = std::size_t{0}]() mutable -> std::optional<Value> {
    const std::string& bytes = value.bytes();
    if (at >= bytes.size()) return std::nullopt;
    const std::size_t begin = at;
    next_character(bytes, at);
    return Value(value.text().part(begin, at).with_markup(false));
  };
}

std::optional<Value> text_item(const Text& text, std::int64_t index) {
  const std::string& bytes = text.bytes();
  if (index < 0) {
    std::size_t at = bytes.size(), end = at;
    for (; index < 0; ++index) {
      if (at == 0) return std::nullopt;
      end = at;
      previous_character(bytes, at);
    }
    return Value(text.part(at, end));
  }
  const std::size_t begin = character_offset(bytes, static_cast<std::size_t>(index));
  if (begin >= bytes.size()) return std::nullopt;
  std::size_t end = begin;
  next_character(bytes, end);
  return Value(text.part(begin, end));
}

// value[index]; nullopt where Python raises a TypeError or a LookupError.
std::optional<Value> subscript(const Value& value, const Value& index, Budget& budget) {
  if (value.is_dict()) {
    if (!is_hashable(index)) return std::nullopt;
    const Value* found = value.dict().find(index, budget);
    return found == nullptr ? std::nullopt : std::optional(*found);
  }
  if (value.is_object()) return value.object()->item(index);
  if (!index.is_whole()) return std::nullopt;
  if (value.is_text()) return text_item(value.text(), index.integer());
  if (!value.is_sequence()) return std::nullopt;
  const auto size = static_cast<std::int64_t>(value.items().size());
  const std::int64_t at = index.integer() < 0 ? index.integer() + size : index.integer();
  if (at < 0 || at >= size) return std::nullopt;
  return value.items()[static_cast<std::size_t>(at)];
}

Value no_attribute(const Value& value, const Value& name, Budget& budget) {
  const std::string type = value.is_none() ? "None" : value.type_name() + " object";
  if (!name.is_text()) return Value::undefined(type + " has no element " + repr(name, budget));
  return Value::undefined("'" + type + "' has no attribute '" + name.bytes() + "'");
}

constexpr std::int64_t kLongest = std::int64_t{1} << 40;  // step that skips everything

// Where a slice begins and ends, and how many items it has (Python's PySlice_AdjustIndices).
struct Bounds {
  std::int64_t start, stop, step;
  std::size_t count;
};

Bounds slice_bounds(const Value& start, const Value& stop, const Value& step, std::int64_t size) {
  for (const Value* index : {&start, &stop, &step}) {
    if (!index->is_none() && !index->is_whole()) {
      refuse("slice indices must be integers or None or have an __index__ method");
    }
  }
  Bounds bounds{0, 0, step.is_none() ? 1 : step.integer(), 0};
  if (bounds.step == 0) refuse("slice step cannot be zero");
  bounds.step = std::clamp<std::int64_t>(bounds.step, -kLongest, kLongest);
  const bool back = bounds.step < 0;
  const auto adjusted = [&](const Value& index, std::int64_t missing) {
    if (index.is_none()) return missing;
    const std::int64_t at = index.integer() < 0 ? index.integer() + size : index.integer();
    return std::clamp<std::int64_t>(at, back ? -1 : 0, back ? size - 1 : size);
  };
  bounds.start = adjusted(start, back ? size - 1 : 0);
  bounds.stop = adjusted(stop, back ? -1 : size);
  if (back ? bounds.stop < bounds.start : bounds.start < bounds.stop) {
    const std::int64_t distance = back ? bounds.start - bounds.stop : bounds.stop - bounds.start;
    bounds.count = static_cast<std::size_t>((distance - 1) / (back ? -bounds.step : bounds.step) + 1);
  }
  return bounds;
}

Value slice_of_text(const Text& text, const Value& start, const Value& stop, const Value& step,
                    Budget& budget) {
  std::vector<std::size_t> offsets;  // of every character, and the end
  for (std::size_t at = 0; at < text.size(); next_character(text.bytes(), at)) offsets.push_back(at);
  offsets.push_back(text.size());
  budget.step(offsets.size() / 8);
  const Bounds bounds = slice_bounds(start, stop, step, static_cast<std::int64_t>(offsets.size()) - 1);
  if (bounds.count == 0) return Text("").with_markup(text.markup());
  if (bounds.step == 1) {
    return text.part(offsets[static_cast<std::size_t>(bounds.start)],
                     offsets[static_cast<std::size_t>(bounds.stop)]);
  }
  Text out = Text("").with_markup(text.markup());
  for (std::size_t i = 0; i < bounds.count; ++i) {
    const auto at = static_cast<std::size_t>(bounds.start + static_cast<std::int64_t>(i) * bounds.step);
    out.append(text.part(offsets[at], offsets[at + 1]));
  }
  return out;
}

}  // namespace

std::size_t length(const Value& value) {
  if (value.is_undefined()) return 0;
  if (value.is_text()) return count_characters(value.bytes());
  if (value.is_sequence()) return value.items().size();
  if (value.is_dict()) return value.dict().size();
  const auto size = value.is_object() ? value.object()->length() : std::nullopt;
  if (!size) refuse("object of type '", value.type_name(), "' has no len()");
  return *size;
}

bool is_iterable(const Value& value) {
  if (value.is_object()) return value.object()->iterate().has_value();
  return value.is_undefined() || value.is_text() || value.is_sequence() || value.is_dict();
}

Iterator iterate(const Value& value) {
  if (value.is_undefined()) return [] { return std::optional<Value>(); };
  if (value.is_text()) return walk_characters(value);
  if (value.is_sequence()) return walk_items(value, false);
  if (value.is_dict()) return *DictView(value, DictView::Part::kKeys).iterate();
  if (value.is_object()) {
    if (auto iterator = value.object()->iterate()) return *std::move(iterator);
  }
  refuse("'", value.type_name(), "' object is not iterable");
}

Iterator iterate_back(const Value& value) {
  if (value.is_undefined()) return [] { return std::optional<Value>(); };
  if (value.is_sequence()) return walk_items(value, true);
  if (value.is_dict()) return *DictView(value, DictView::Part::kKeys).iterate_back();
  if (value.is_text()) {
    std::vector<Value> characters;
    const Iterator next = walk_characters(value);
    while (auto character = next()) characters.push_back(*std::move(character));
    return walk_items(Value::list(std::move(characters)), true);
  }
  if (value.is_object()) {
    if (auto iterator = value.object()->iterate_back()) return *std::move(iterator);
  }
  refuse("'", value.type_name(), "' object is not reversible");
}

std::vector<Value> to_items(const Value& value, Budget& budget) {
  if (value.is_sequence()) return value.items();
  std::vector<Value> items;
  const Iterator next = iterate(value);
  while (auto item = next()) {
    budget.allocate(sizeof(Value));
    budget.step();
    items.push_back(*std::move(item));
  }
  return items;
}

std::optional<Value> own_attribute(const Value& value, const std::string& name) {
  if (value.is_undefined()) value.raise_undefined();
  if (value.is_object()) return value.object()->attribute(name);
  if (value.is_tuple() && value.sequence().group) {
    if (name == "grouper") return value.items()[0];
    if (name == "list") return value.items()[1];
  }
  return method_of(value, name);
}

Value attribute_of(const Value& value, const std::string& name, Runtime& runtime) {
  if (auto attribute = own_attribute(value, name)) return *std::move(attribute);
  if (auto item = subscript(value, Value(name), runtime.budget)) return *std::move(item);
  return no_attribute(value, Value(name), runtime.budget);
}

Value item_of(const Value& value, const Value& index, Runtime& runtime) {
  if (value.is_undefined()) value.raise_undefined();
  if (auto item = subscript(value, index, runtime.budget)) return *std::move(item);
  if (index.is_text()) {
    if (auto attribute = own_attribute(value, index.bytes())) return *std::move(attribute);
  }
  return no_attribute(value, index, runtime.budget);
}

Value slice_of(const Value& value, const Value& start, const Value& stop, const Value& step, Budget& budget) {
  if (value.is_undefined()) value.raise_undefined();
  if (value.is_text()) return slice_of_text(value.text(), start, stop, step, budget);
  if (value.is_sequence()) {
    const auto size = static_cast<std::int64_t>(value.items().size());
    const Bounds bounds = slice_bounds(start, stop, step, size);
    budget.allocate(bounds.count * sizeof(Value));
    std::vector<Value> items;
    for (std::size_t i = 0; i < bounds.count; ++i) {
      items.push_back(
          value.items()[static_cast<std::size_t>(bounds.start + static_cast<std::int64_t>(i) * bounds.step)]);
    }
    return value.is_tuple() ? Value::tuple(std::move(items)) : Value::list(std::move(items));
  }
  if (const auto* range = value.object_as<Range>()) {
    const Bounds bounds = slice_bounds(start, stop, step, static_cast<std::int64_t>(length(value)));
    return std::shared_ptr<Object>(std::make_shared<Range>(range->at(bounds.start), range->at(bounds.stop),
                                                           bounds.step * range->step()));
  }
  if (value.is_dict()) refuse("unhashable type: 'slice'");
  refuse("'", value.type_name(), "' object is not subscriptable");
}

bool is_callable(const Value& value) { return value.is_object() && value.object()->callable(); }

Value call(Runtime& runtime, const Value& function, Arguments arguments) {
  if (function.is_undefined()) function.raise_undefined();
  if (!is_callable(function)) refuse("'", function.type_name(), "' object is not callable");
  const std::shared_ptr<Object> object = function.object();  // alive while it runs
  return object->call(runtime, std::move(arguments));
}

}  // namespace lrqat::chat
