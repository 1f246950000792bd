// jinja2's tests: "is …".
#include <algorithm>

#include "lrqat/chat/filters.h"
#include "lrqat/chat/split.h"

namespace lrqat::chat {
namespace {

bool is_remainder(Runtime& runtime, const Value& value, const Value& by, std::int64_t rest) {
  return equal(calculate(Operator::kModulo, value, by, runtime), rest, runtime.budget);
}

template <Order order>
bool ordered(Runtime& runtime, const Value& value, const Bound& bound) {
  return compare(order, value, bound[0], runtime.budget);
}

bool is_equal(Runtime& runtime, const Value& value, const Bound& bound) {
  return equal(value, bound[0], runtime.budget);
}

bool is_unequal(Runtime& runtime, const Value& value, const Bound& bound) {
  return !equal(value, bound[0], runtime.budget);
}

bool is_sequence_like(const Value& value) {
  return value.is_undefined() || value.is_text() || value.is_sequence() || value.is_dict() ||
         (value.is_object() && value.object()->has_items());
}

bool is_known(const Value& name, bool filter) {
  if (!name.is_text()) return false;
  if (!filter) return find_test(name.bytes()) != nullptr;
  const FilterRow* row = find_filter(name.bytes());
  return row != nullptr && row->call != nullptr;
}

template <bool upper>
bool is_case(Runtime& runtime, const Value& value, const Bound&) {
  return is_of_case(to_text(value, runtime.budget).bytes(), upper);
}

constexpr TestRow kTests[] = {
    {"!=", "/ other", is_unequal},
    {"<", "/ other", ordered<Order::kLess>},
    {"<=", "/ other", ordered<Order::kLessEqual>},
    {"==", "/ other", is_equal},
    {">", "/ other", ordered<Order::kGreater>},
    {">=", "/ other", ordered<Order::kGreaterEqual>},
    {"boolean", "", [](Runtime&, const Value& value, const Bound&) { return value.is_bool(); }},
    {"callable", "",
     [](Runtime&, const Value& value, const Bound&) { return value.is_undefined() || is_callable(value); }},
    {"defined", "", [](Runtime&, const Value& value, const Bound&) { return !value.is_undefined(); }},
    {"divisibleby", "num",
     [](Runtime& runtime, const Value& value, const Bound& bound) {
       return is_remainder(runtime, value, bound[0], 0);
     }},
    {"eq", "/ other", is_equal},
    {"equalto", "/ other", is_equal},
    {"escaped", "",
     [](Runtime&, const Value& value, const Bound&) { return value.is_text() && value.text().markup(); }},
    {"even", "",
     [](Runtime& runtime, const Value& value, const Bound&) {
       return is_remainder(runtime, value, std::int64_t{2}, 0);
     }},
    {"false", "",
     [](Runtime&, const Value& value, const Bound&) { return value.is_bool() && !value.boolean(); }},
    {"filter", "", [](Runtime&, const Value& value, const Bound&) { return is_known(value, true); }},
    {"float", "", [](Runtime&, const Value& value, const Bound&) { return value.is_float(); }},
    {"ge", "/ other", ordered<Order::kGreaterEqual>},
    {"greaterthan", "/ other", ordered<Order::kGreater>},
    {"gt", "/ other", ordered<Order::kGreater>},
    {"in", "seq",
     [](Runtime& runtime, const Value& value, const Bound& bound) {
       return contains(bound[0], value, runtime.budget);
     }},
    {"integer", "", [](Runtime&, const Value& value, const Bound&) { return value.is_integer(); }},
    {"iterable", "", [](Runtime&, const Value& value, const Bound&) { return is_iterable(value); }},
    {"le", "/ other", ordered<Order::kLessEqual>},
    {"lessthan", "/ other", ordered<Order::kLess>},
    {"lower", "", is_case<false>},
    {"lt", "/ other", ordered<Order::kLess>},
    {"mapping", "", [](Runtime&, const Value& value, const Bound&) { return value.is_dict(); }},
    {"ne", "/ other", is_unequal},
    {"none", "", [](Runtime&, const Value& value, const Bound&) { return value.is_none(); }},
    {"number", "", [](Runtime&, const Value& value, const Bound&) { return value.is_number(); }},
    {"odd", "",
     [](Runtime& runtime, const Value& value, const Bound&) {
       return is_remainder(runtime, value, std::int64_t{2}, 1);
     }},
    {"sameas", "other",
     [](Runtime&, const Value& value, const Bound& bound) { return value.same_as(bound[0]); }},
    {"sequence", "", [](Runtime&, const Value& value, const Bound&) { return is_sequence_like(value); }},
    {"string", "", [](Runtime&, const Value& value, const Bound&) { return value.is_text(); }},
    {"test", "", [](Runtime&, const Value& value, const Bound&) { return is_known(value, false); }},
    {"true", "",
     [](Runtime&, const Value& value, const Bound&) { return value.is_bool() && value.boolean(); }},
    {"undefined", "", [](Runtime&, const Value& value, const Bound&) { return value.is_undefined(); }},
    {"upper", "", is_case<true>},
};

}  // namespace

const TestRow* find_test(std::string_view name) {
  const auto* row = std::find_if(std::begin(kTests), std::end(kTests),
                                 [&](const TestRow& other) { return other.name == name; });
  return row == std::end(kTests) ? nullptr : row;
}

std::string missing_test(std::string_view name) { return concat("No test named '", name, "'."); }

bool call_test(Runtime& runtime, const std::string& name, const Value& value, Arguments arguments) {
  const TestRow* row = find_test(name);
  if (row == nullptr) throw Failure(missing_test(name));
  return row->call(runtime, value, Bound(name, row->parameters, std::move(arguments)));
}

}  // namespace lrqat::chat
