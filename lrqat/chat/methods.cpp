#include "lrqat/chat/methods.h"

#include <algorithm>
#include <cmath>

namespace lrqat::chat {
namespace {

Value view(const Value& dict, DictView::Part part) {
  return std::shared_ptr<Object>(std::make_shared<DictView>(dict, part));
}

Value get(Runtime& runtime, const Value& self, const Bound& bound) {
  const Value* found = self.dict().find(bound[0], runtime.budget);
  return found != nullptr ? *found : bound.get(1, {});
}

Value same(Runtime&, const Value& self, const Bound&) { return self; }

Value from_keys(Runtime& runtime, const Value&, const Bound& bound) {
  Dict dict;
  for (const Value& key : to_items(bound[0], runtime.budget)) dict.set(key, bound.get(1, {}), runtime.budget);
  return Value::dict(std::move(dict));
}

constexpr MethodRow kDictMethods[] = {
    {"copy", "", same},
    {"fromkeys", "/ iterable value?", from_keys},
    {"get", "/ key default?", get},
    {"items", "",
     [](Runtime&, const Value& self, const Bound&) { return view(self, DictView::Part::kItems); }},
    {"keys", "", [](Runtime&, const Value& self, const Bound&) { return view(self, DictView::Part::kKeys); }},
    {"values", "",
     [](Runtime&, const Value& self, const Bound&) { return view(self, DictView::Part::kValues); }},
};

Value count_items(Runtime& runtime, const Value& self, const Bound& bound) {
  return static_cast<std::int64_t>(
      std::count_if(self.items().begin(), self.items().end(),
                    [&](const Value& item) { return equal(item, bound[0], runtime.budget); }));
}

Value index_of(Runtime& runtime, const Value& self, const Bound& bound) {
  const auto size = static_cast<std::int64_t>(self.items().size());
  const auto place = [&](std::int64_t at) {
    return std::clamp<std::int64_t>(at < 0 ? at + size : at, 0, size);
  };
  for (std::int64_t i = place(bound.integer(1, 0)); i < place(bound.integer(2, size)); ++i) {
    if (equal(self.items()[static_cast<std::size_t>(i)], bound[0], runtime.budget)) return i;
  }
  refuse(repr(bound[0], runtime.budget), " is not in ", self.type_name());
}

constexpr MethodRow kListMethods[] = {
    {"copy", "", same},
    {"count", "/ value", count_items},
    {"index", "/ value start? stop?", index_of},
};

constexpr MethodRow kTupleMethods[] = {
    {"count", "/ value", count_items},
    {"index", "/ value start? stop?", index_of},
};

Value is_integer(Runtime&, const Value& self, const Bound&) {
  return std::isfinite(self.real()) && self.real() == std::floor(self.real());
}

constexpr MethodRow kFloatMethods[] = {
    {"is_integer", "", is_integer},
    {"as_integer_ratio", "", nullptr},
    {"hex", "", nullptr},
    {"conjugate", "", same},
};

Value bit_length(Runtime&, const Value& self, const Bound&) {
  std::int64_t bits = 0;
  const std::int64_t number = self.integer();
  const auto magnitude = static_cast<std::uint64_t>(number);
  for (std::uint64_t rest = number < 0 ? 0 - magnitude : magnitude; rest > 0; rest >>= 1) ++bits;
  return bits;
}

constexpr MethodRow kIntegerMethods[] = {
    {"bit_length", "", bit_length}, {"as_integer_ratio", "", nullptr}, {"to_bytes", "", nullptr},
    {"from_bytes", "", nullptr},    {"bit_count", "", nullptr},        {"conjugate", "", same},
};

// What would change a list or a dict; the sandbox hides it.
constexpr std::string_view kListChanges[] = {"append", "clear",  "extend",  "insert",
                                             "pop",    "remove", "reverse", "sort"};
constexpr std::string_view kDictChanges[] = {"clear", "pop", "popitem", "setdefault", "update"};

std::span<const MethodRow> methods_of_type(const Value& value) {
  if (value.is_text()) return text_methods();
  if (value.is_dict()) return kDictMethods;
  if (value.is_sequence()) return value.is_tuple() ? std::span<const MethodRow>(kTupleMethods) : kListMethods;
  if (value.is_float()) return kFloatMethods;
  if (value.is_whole()) return kIntegerMethods;
  return {};
}

std::span<const std::string_view> forbidden(const Value& value) {
  if (value.is_dict()) return kDictChanges;
  if (value.is_list()) return kListChanges;
  return {};
}

std::optional<Value> part_of_number(const Value& value, const std::string& name) {
  if (!value.is_number()) return std::nullopt;
  if (name == "real") return value.is_float() ? value : Value(value.integer());
  if (name == "imag") return value.is_float() ? Value(0.0) : Value(std::int64_t{0});
  if (value.is_float()) return std::nullopt;
  if (name == "numerator") return Value(value.integer());
  if (name == "denominator") return Value(std::int64_t{1});
  return std::nullopt;
}

}  // namespace

std::optional<Value> method_of(const Value& value, const std::string& name) {
  const auto changes = forbidden(value);
  const bool internal = name.size() > 4 && name.starts_with("__") && name.ends_with("__");
  if (internal || std::find(changes.begin(), changes.end(), name) != changes.end()) {
    return Value::undefined("access to attribute '" + name + "' of '" + value.type_name() +
                            "' object is unsafe.");
  }
  const auto rows = methods_of_type(value);
  const auto row =
      std::find_if(rows.begin(), rows.end(), [&](const MethodRow& other) { return other.name == name; });
  if (row == rows.end()) return part_of_number(value, name);
  if (row->call == nullptr) refuse("the method ", value.type_name(), ".", name, " is not one that lrqat has");
  const auto call = [self = value, row = &*row](Runtime& runtime, Arguments arguments) {
    return row->call(runtime, self, Bound(concat(row->name, "()"), row->parameters, std::move(arguments)));
  };
  return std::shared_ptr<Object>(std::make_shared<Function>(name, call, value.depth() + 1));
}

}  // namespace lrqat::chat
