#include "lrqat/chat/macro.h"

#include <algorithm>

#include "lrqat/chat/signature.h"

namespace lrqat::chat {

std::string Macro::text(Budget&) const {
  return node_.name.empty() ? "<Macro anonymous>" : "<Macro " + repr_of_text(node_.name) + ">";
}

std::optional<Value> Macro::attribute(const std::string& name) {
  if (name == "name") return node_.name.empty() ? Value() : Value(node_.name);
  if (name == "caller") return Value(node_.signature.reads_caller);
  if (name == "catch_kwargs") return Value(node_.signature.reads_named);
  if (name == "catch_varargs") return Value(node_.signature.reads_rest);
  if (name != "arguments") return std::nullopt;
  std::vector<Value> names;
  for (const Parameter& parameter : node_.signature.parameters) names.emplace_back(parameter.name);
  return Value::tuple(std::move(names));
}

// The caller is one of the named arguments, but not one of kwargs.
void Macro::bind_caller(Scope& scope, Arguments& arguments) const {
  const auto& parameters = node_.signature.parameters;
  const bool is_parameter = std::any_of(parameters.begin(), parameters.end(),
                                        [](const Parameter& one) { return one.name == "caller"; });
  if (!node_.signature.reads_caller || is_parameter) return;
  Value caller = Value::undefined("No caller defined");
  const auto given = std::find_if(arguments.named.begin(), arguments.named.end(),
                                  [](const auto& pair) { return pair.first == "caller"; });
  if (given != arguments.named.end()) {
    if (!given->second.is_none()) caller = given->second;
    arguments.named.erase(given);
  }
  scope.set(interpreter_.program().caller, caller);
}

void Macro::bind(Scope& scope, Arguments& arguments) const {
  const auto& parameters = node_.signature.parameters;
  std::vector<const Parameter*> missing;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const Parameter& parameter = parameters[i];
    const auto given = std::find_if(arguments.named.begin(), arguments.named.end(),
                                    [&](const auto& pair) { return pair.first == parameter.name; });
    if (i < arguments.positional.size()) {
      scope.set(parameter.symbol, arguments.positional[i]);
    } else if (given != arguments.named.end()) {
      scope.set(parameter.symbol, given->second);
      arguments.named.erase(given);
    } else {
      scope.set(parameter.symbol, Value::undefined("parameter '" + parameter.name + "' was not provided"));
      missing.push_back(&parameter);
    }
  }
  bind_caller(scope, arguments);
  if (node_.signature.reads_named) {
    Dict named;
    for (auto& [name, value] : arguments.named) named.set(name, std::move(value));
    scope.set(interpreter_.program().kwargs, Value::dict(std::move(named)));
  } else if (!arguments.named.empty()) {
    refuse("macro '", node_.name, "' takes no keyword argument '", arguments.named.front().first, "'");
  }
  const std::size_t used = std::min(parameters.size(), arguments.positional.size());
  arguments.positional.erase(arguments.positional.begin(),
                             arguments.positional.begin() + static_cast<std::ptrdiff_t>(used));
  if (node_.signature.reads_rest) {
    scope.set(interpreter_.program().varargs, Value::tuple(std::move(arguments.positional)));
  } else if (!arguments.positional.empty()) {
    refuse("macro '", node_.name, "' takes not more than ", parameters.size(), " argument(s)");
  }
  for (const Parameter* parameter : missing) {
    if (parameter->fallback == nullptr) continue;
    scope.set(parameter->symbol, interpreter_.evaluate(*parameter->fallback, scope));
  }
}

Value Macro::call(Runtime&, Arguments arguments) {
  const auto scope = interpreter_.inner(closure_, node_.hidden);
  bind(*scope, arguments);
  Text out;
  interpreter_.execute(node_.body, scope, out);
  return out;
}

std::optional<Value> Loop::next() {
  std::optional<Value> item = peeked_ ? std::move(after_) : source_();
  peeked_ = false;
  after_.reset();
  if (!item) return std::nullopt;
  ++index0_;
  before_ = std::move(current_);
  current_ = *item;
  return item;
}

const std::optional<Value>& Loop::peek() {
  if (!peeked_) after_ = source_();
  peeked_ = true;
  return after_;
}

std::int64_t Loop::loop_length() {
  if (length_) return *length_;
  const bool has_length = sized_ && (!items_.is_object() || items_.object()->length().has_value());
  if (has_length) {
    length_ = static_cast<std::int64_t>(chat::length(items_));
    return *length_;
  }
  std::vector<Value> rest;
  while (auto item = source_()) {
    interpreter_.runtime().budget.allocate(sizeof(Value));
    rest.push_back(*std::move(item));
  }
  length_ = static_cast<std::int64_t>(rest.size()) + index0_ + 1 + (after_ ? 1 : 0);
  source_ = chat::iterate(Value::list(std::move(rest)));
  return *length_;
}

std::string Loop::text(Budget&) const {
  auto* self = const_cast<Loop*>(this);  // its length may have to be counted
  return concat("<LoopContext ", index0_ + 1, "/", self->loop_length(), ">");
}

Value Loop::cycle(Arguments arguments, Budget&) {
  if (arguments.positional.empty()) refuse("no items for cycling given");
  return arguments.positional[static_cast<std::size_t>(index0_) % arguments.positional.size()];
}

Value Loop::changed(Arguments arguments, Budget& budget) {
  const Value now = Value::tuple(std::move(arguments.positional));
  const bool same = last_changed_ && equal(*last_changed_, now, budget);
  last_changed_ = now;
  return !same;
}

std::optional<Value> Loop::attribute(const std::string& name) {
  if (name == "index") return index0_ + 1;
  if (name == "index0") return index0_;
  if (name == "first") return Value(index0_ == 0);
  if (name == "last") return Value(!peek().has_value());
  if (name == "length") return loop_length();
  if (name == "revindex") return loop_length() - index0_;
  if (name == "revindex0") return loop_length() - index0_ - 1;
  if (name == "depth") return depth_ + 1;
  if (name == "depth0") return depth_;
  if (name == "previtem") return index0_ == 0 ? Value::undefined("there is no previous item") : before_;
  if (name == "nextitem") return peek() ? *peek() : Value::undefined("there is no next item");
  using Method = Value (Loop::*)(Arguments, Budget&);
  const Method method = name == "cycle" ? &Loop::cycle : name == "changed" ? &Loop::changed : nullptr;
  if (method == nullptr) return std::nullopt;
  const auto call = [self = shared_from_this(), method](Runtime& runtime, Arguments arguments) {
    return (*self.*method)(std::move(arguments), runtime.budget);
  };
  return std::shared_ptr<Object>(std::make_shared<Function>(name, call, depth() + 1));
}

// loop(items): the whole loop again, one level deeper.
Value Loop::call(Runtime&, Arguments arguments) {
  const Bound bound("loop", "iterable", std::move(arguments));
  if (!node_.recursive) refuse("The loop must have the 'recursive' marker to be called recursively.");
  Text out;
  interpreter_.run_loop(node_, bound[0], scope_, depth_ + 1, out);
  return out;
}

}  // namespace lrqat::chat
