#include <algorithm>

#include "lrqat/chat/operations.h"

namespace lrqat::chat {
namespace {

constexpr std::size_t kLargestRange = 100'000;  // of the sandbox

Value function(std::string name, Function::Call call, int depth = 1) {
  return std::shared_ptr<Object>(std::make_shared<Function>(std::move(name), std::move(call), depth));
}

}  // namespace

const Value* Arguments::find(std::string_view name) const {
  for (const auto& [key, value] : named) {
    if (key == name) return &value;
  }
  return nullptr;
}

Value Object::call(Runtime&, Arguments) { refuse("'", type_name(), "' object is not callable"); }

Generator::Generator(Iterator next, int depth)
    : next_(std::make_shared<Iterator>(std::move(next))), depth_(depth) {
  if (depth > kDeepestValue) refuse("generators are nested deeper than ", kDeepestValue, " levels");
}

std::optional<Iterator> Generator::iterate() {
  return [next = next_] { return (*next)(); };
}

Value generator(Iterator next, const Value& source) {
  return std::shared_ptr<Object>(std::make_shared<Generator>(std::move(next), source.depth() + 1));
}

// In unsigned arithmetic, which wraps: a distance may be longer than a signed integer.
Range::Range(std::int64_t start, std::int64_t stop, std::int64_t step)
    : start_(start), stop_(stop), step_(step) {
  if (step == 0) refuse("range() arg 3 must not be zero");
  const auto from = static_cast<std::uint64_t>(start), to = static_cast<std::uint64_t>(stop);
  const bool up = step > 0;
  const std::uint64_t stride = up ? static_cast<std::uint64_t>(step) : 0 - static_cast<std::uint64_t>(step);
  if (up ? start < stop : start > stop) size_ = ((up ? to - from : from - to) - 1) / stride + 1;
  if (size_ > kLargestRange) {
    refuse("Range too big. The sandbox blocks ranges larger than MAX_RANGE (", kLargestRange, ").");
  }
}

std::int64_t Range::at(std::int64_t index) const {
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(start_) +
                                   static_cast<std::uint64_t>(index) * static_cast<std::uint64_t>(step_));
}

std::string Range::text(Budget&) const {
  return concat("range(", start_, ", ", stop_, step_ == 1 ? "" : concat(", ", step_), ")");
}

std::optional<Value> Range::attribute(const std::string& name) {
  if (name == "start") return start_;
  if (name == "stop") return stop_;
  if (name == "step") return step_;
  return std::nullopt;
}

std::optional<Iterator> Range::iterate() {
  return [range = *this, index = std::size_t{0}]() mutable -> std::optional<Value> {
    if (index >= range.size_) return std::nullopt;
    return Value(range.at(static_cast<std::int64_t>(index++)));
  };
}

std::optional<Iterator> Range::iterate_back() {
  return [range = *this, left = size_]() mutable -> std::optional<Value> {
    if (left == 0) return std::nullopt;
    return Value(range.at(static_cast<std::int64_t>(--left)));
  };
}

std::optional<Value> Range::item(const Value& index) {
  if (!index.is_whole()) return std::nullopt;
  const auto size = static_cast<std::int64_t>(size_);
  const std::int64_t at_index = index.integer() < 0 ? index.integer() + size : index.integer();
  if (at_index < 0 || at_index >= size) return std::nullopt;
  return at(at_index);
}

bool Range::equals(const Range& other) const {
  if (size_ != other.size_ || size_ == 0) return size_ == other.size_;
  return start_ == other.start_ && (size_ == 1 || step_ == other.step_);
}

std::string DictView::type_name() const {
  return part_ == Part::kKeys ? "dict_keys" : part_ == Part::kValues ? "dict_values" : "dict_items";
}

std::optional<bool> DictView::contains_key(const Value& key, Budget& budget) const {
  if (part_ != Part::kKeys) return std::nullopt;
  return dict_.dict().find(key, budget) != nullptr;
}

Value DictView::member(std::size_t index) const {
  const auto& [key, value] = dict_.dict().entries()[index];
  if (part_ == Part::kKeys) return key;
  return part_ == Part::kValues ? value : Value::tuple({key, value});
}

std::string DictView::text(Budget& budget) const {
  std::vector<Value> members;
  for (std::size_t i = 0; i < dict_.dict().size(); ++i) members.push_back(member(i));
  return type_name() + "(" + repr(Value::list(std::move(members)), budget) + ")";
}

Iterator DictView::walk(bool back) const {
  return [view = *this, back, index = std::size_t{0}]() mutable -> std::optional<Value> {
    const std::size_t size = view.dict_.dict().size();
    if (index >= size) return std::nullopt;
    const std::size_t at = index++;
    return view.member(back ? size - 1 - at : at);
  };
}

std::string Namespace::text(Budget& budget) const {
  return "<Namespace " + repr(Value::dict(attributes_), budget) + ">";
}

std::optional<Value> Namespace::attribute(const std::string& name) {
  const Value* value = attributes_.find(name);
  return value == nullptr ? std::nullopt : std::optional(*value);
}

void Namespace::set(const std::string& name, Value value) {
  if (name.starts_with('_')) {
    refuse("Chat templates cannot store underscore-prefixed attributes on a namespace, but got '", name,
           "'. Please rename the attribute.");
  }
  attributes_.set(name, std::move(value));
}

Cycler::Cycler(std::vector<Value> items) : state_(std::make_shared<State>()) {
  if (items.empty()) refuse("at least one item has to be provided");
  for (const Value& item : items) state_->depth = std::max(state_->depth, item.depth() + 1);
  if (state_->depth > kDeepestValue) refuse("values are nested deeper than ", kDeepestValue, " levels");
  state_->items = std::move(items);
}

std::optional<Value> Cycler::attribute(const std::string& name) {
  if (name == "current") return state_->items[state_->at];
  if (name == "next") {
    return function(
        name,
        [state = state_](Runtime&, const Arguments&) {
          const Value value = state->items[state->at];
          state->at = (state->at + 1) % state->items.size();
          return value;
        },
        state_->depth + 1);
  }
  if (name == "reset") {
    return function(
        name,
        [state = state_](Runtime&, const Arguments&) {
          state->at = 0;
          return Value();
        },
        state_->depth + 1);
  }
  return std::nullopt;
}

Runtime::~Runtime() {
  for (const auto& object : kept_) object->forget();
}

}  // namespace lrqat::chat
