// Expressions.
#include "lrqat/chat/interpreter.h"

namespace lrqat::chat {

Value Interpreter::lookup(const Expression& node, const Scope& scope) const {
  const Value* value = scope.find(node.symbol);
  return value != nullptr ? *value : Value::undefined("'" + node.name + "' is undefined");
}

std::vector<Value> Interpreter::evaluate_all(const Expression& node, Scope& scope, std::size_t first) {
  std::vector<Value> out;
  for (std::size_t i = first; i < node.children.size(); ++i)
    out.push_back(evaluate(*node.children[i], scope));
  runtime_.budget.allocate(out.size() * sizeof(Value));
  return out;
}

Value Interpreter::evaluate(const Expression& node, Scope& scope) {
  using Kind = Expression::Kind;
  const Budget::Level level(runtime_.budget);
  runtime_.budget.step();
  line_ = node.line;
  const auto child = [&](std::size_t i) { return evaluate(*node.children[i], scope); };
  switch (node.kind) {
    case Kind::kConstant:
      return node.constant;
    case Kind::kName:
      return lookup(node, scope);
    case Kind::kList:
      return Value::list(evaluate_all(node, scope));
    case Kind::kTuple:
      return Value::tuple(evaluate_all(node, scope));
    case Kind::kDict:
      return evaluate_dict(node, scope);
    case Kind::kNegative:
      return negative(child(0));
    case Kind::kPositive:
      return positive(child(0));
    case Kind::kNot:
      return !child(0).truth();
    case Kind::kAnd: {
      Value left = child(0);
      return left.truth() ? child(1) : left;
    }
    case Kind::kOr: {
      Value left = child(0);
      return left.truth() ? left : child(1);
    }
    case Kind::kCalculate:
    case Kind::kItem:
      return evaluate_pair(node, scope);
    case Kind::kConcat:
      return evaluate_concat(node, scope);
    case Kind::kCompare:
      return evaluate_compare(node, scope);
    case Kind::kCondition:
      return evaluate_condition(node, scope);
    case Kind::kAttribute: {
      const Value value = child(0);
      line_ = node.line;
      return attribute_of(value, node.name, runtime_);
    }
    case Kind::kSlice:
      return evaluate_slice(node, scope);
    case Kind::kCall:
      return evaluate_call(node, scope, nullptr);
    case Kind::kFilter:
      return evaluate_filter(node, scope);
    case Kind::kTest:
      return evaluate_test(node, scope);
    case Kind::kNamespace:
      break;
  }
  return {};
}

Value Interpreter::evaluate_pair(const Expression& node, Scope& scope) {
  const Value left = evaluate(*node.children[0], scope);
  const Value right = evaluate(*node.children[1], scope);
  line_ = node.line;
  if (node.kind == Expression::Kind::kItem) return item_of(left, right, runtime_);
  return calculate(node.operation, left, right, runtime_);
}

Value Interpreter::evaluate_condition(const Expression& node, Scope& scope) {
  if (evaluate(*node.children[1], scope).truth()) return evaluate(*node.children[0], scope);
  if (node.children.size() > 2) return evaluate(*node.children[2], scope);
  return Value::undefined(concat("the inline if-expression on line ", node.line,
                                 " evaluated to false and no else section was defined."));
}

Value Interpreter::evaluate_dict(const Expression& node, Scope& scope) {
  const std::vector<Value> members = evaluate_all(node, scope);
  Dict dict;
  for (std::size_t i = 0; i < members.size(); i += 2) dict.set(members[i], members[i + 1], runtime_.budget);
  return Value::dict(std::move(dict));
}

Value Interpreter::evaluate_concat(const Expression& node, Scope& scope) {
  Text out;
  for (const Value& part : evaluate_all(node, scope)) print(part, out);
  return out;
}

bool Interpreter::evaluate_compare(const Expression& node, Scope& scope) {
  using Comparison = Expression::Comparison;
  Value left = evaluate(*node.children[0], scope);
  for (std::size_t i = 0; i < node.comparisons.size(); ++i) {
    Value right = evaluate(*node.children[i + 1], scope);
    line_ = node.line;
    Budget& budget = runtime_.budget;
    bool holds = false;
    switch (node.comparisons[i]) {
      case Comparison::kEqual:
        holds = equal(left, right, budget);
        break;
      case Comparison::kUnequal:
        holds = !equal(left, right, budget);
        break;
      case Comparison::kLess:
        holds = compare(Order::kLess, left, right, budget);
        break;
      case Comparison::kLessEqual:
        holds = compare(Order::kLessEqual, left, right, budget);
        break;
      case Comparison::kGreater:
        holds = compare(Order::kGreater, left, right, budget);
        break;
      case Comparison::kGreaterEqual:
        holds = compare(Order::kGreaterEqual, left, right, budget);
        break;
      case Comparison::kIn:
        holds = contains(right, left, budget);
        break;
      case Comparison::kNotIn:
        holds = !contains(right, left, budget);
        break;
    }
    if (!holds) return false;
    left = std::move(right);
  }
  return true;
}

Value Interpreter::evaluate_slice(const Expression& node, Scope& scope) {
  Value parts[4];
  for (std::size_t i = 0; i < 4; ++i) {
    if (node.children[i] != nullptr) parts[i] = evaluate(*node.children[i], scope);
  }
  line_ = node.line;
  return slice_of(parts[0], parts[1], parts[2], parts[3], runtime_.budget);
}

// The children behind the first one, and the named arguments.
Arguments Interpreter::evaluate_arguments(const Expression& node, Scope& scope) {
  Arguments out;
  out.positional = evaluate_all(node, scope, 1);
  for (const auto& [name, value] : node.named) out.named.emplace_back(name, evaluate(*value, scope));
  if (node.rest != nullptr) {
    for (Value& item : to_items(evaluate(*node.rest, scope), runtime_.budget))
      out.positional.push_back(std::move(item));
  }
  if (node.named_rest == nullptr) return out;
  const Value more = evaluate(*node.named_rest, scope);
  if (!more.is_dict()) refuse("argument after ** must be a mapping, not ", more.type_name());
  for (const auto& [key, value] : more.dict().entries()) {
    if (!key.is_text()) refuse("keywords must be strings");
    if (out.find(key.bytes()) != nullptr)
      refuse("got multiple values for keyword argument '", key.bytes(), "'");
    out.named.emplace_back(key.bytes(), value);
  }
  return out;
}

Value Interpreter::evaluate_call(const Expression& node, Scope& scope, const Value* caller) {
  const Value function = evaluate(*node.children[0], scope);
  Arguments arguments = evaluate_arguments(node, scope);
  if (caller != nullptr) arguments.named.emplace_back("caller", *caller);
  line_ = node.line;
  return call(runtime_, function, std::move(arguments));
}

Value Interpreter::evaluate_filter(const Expression& node, Scope& scope) {
  const Value value = node.children[0] != nullptr ? evaluate(*node.children[0], scope) : Value(*block_text_);
  Arguments arguments = evaluate_arguments(node, scope);
  line_ = node.line;
  if (node.filter == nullptr || node.filter->call == nullptr) throw Failure(missing_filter(node.name));
  return node.filter->call(runtime_, value, Bound(node.name, node.filter->parameters, std::move(arguments)));
}

bool Interpreter::evaluate_test(const Expression& node, Scope& scope) {
  const Value value = evaluate(*node.children[0], scope);
  Arguments arguments = evaluate_arguments(node, scope);
  line_ = node.line;
  if (node.test == nullptr) throw Failure(missing_test(node.name));
  return node.test->call(runtime_, value, Bound(node.name, node.test->parameters, std::move(arguments)));
}

}  // namespace lrqat::chat
