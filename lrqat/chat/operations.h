// What Python's operators and built-in functions do with values. A Failure carries the message that Python or
// jinja2 would give.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lrqat/chat/object.h"
#include "lrqat/chat/value.h"

namespace lrqat::chat {

// What a template runs with beside its variables.
class Runtime {
 public:
  Runtime(const Limits& limits, std::function<std::string(const std::string&)> strftime_now)
      : budget(limits), strftime_now(std::move(strftime_now)) {}
  ~Runtime();
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  // Objects that can refer to themselves are kept, and emptied at the end.
  template <typename T>
  std::shared_ptr<T> keep(std::shared_ptr<T> object) {
    budget.allocate(sizeof(T));
    kept_.push_back(object);
    return object;
  }

  Budget budget;
  std::function<std::string(const std::string&)> strftime_now;

 private:
  std::vector<std::shared_ptr<Object>> kept_;
};

Text to_text(const Value& value, Budget& budget);  // str()
std::string repr(const Value& value, Budget& budget);
std::string repr_of_float(double value);
std::string repr_of_text(const std::string& text);

bool equal(const Value& a, const Value& b, Budget& budget);
enum class Order { kLess, kLessEqual, kGreater, kGreaterEqual };
bool compare(Order order, const Value& a, const Value& b, Budget& budget);
bool contains(const Value& container, const Value& item, Budget& budget);

enum class Operator { kAdd, kSubtract, kMultiply, kDivide, kFloorDivide, kModulo, kPower };
Value calculate(Operator operation, const Value& a, const Value& b, Runtime& runtime);
Value negative(const Value& value);
Value positive(const Value& value);

std::size_t length(const Value& value);
Iterator iterate(const Value& value);
Iterator iterate_back(const Value& value);  // reversed()
bool is_iterable(const Value& value);
std::vector<Value> to_items(const Value& value, Budget& budget);

// environment.getattr and getitem: attribute first, and item first. Undefined where there is neither.
Value attribute_of(const Value& value, const std::string& name, Runtime& runtime);
Value item_of(const Value& value, const Value& index, Runtime& runtime);
std::optional<Value> own_attribute(const Value& value, const std::string& name);  // getattr alone
Value slice_of(const Value& value, const Value& start, const Value& stop, const Value& step, Budget& budget);

bool is_callable(const Value& value);
Value call(Runtime& runtime, const Value& function, Arguments arguments);

Text escaped(const Value& value, Budget& budget);  // HTML, as Markup

}  // namespace lrqat::chat
