#include "lrqat/chat/interpreter.h"

#include "lrqat/chat/macro.h"

namespace lrqat::chat {
namespace {

Value undefined_name(const std::string& name) { return Value::undefined("'" + name + "' is undefined"); }

}  // namespace

const Value* Scope::find(Symbol symbol) const {
  for (const Scope* scope = this; scope != nullptr; scope = scope->parent_.get()) {
    for (const auto& [name, value] : scope->names_) {
      if (name == symbol) return &value;
    }
  }
  return nullptr;
}

void Scope::set(Symbol symbol, Value value) {
  for (auto& [name, old] : names_) {
    if (name == symbol) {
      old = std::move(value);
      return;
    }
  }
  names_.emplace_back(symbol, std::move(value));
}

Interpreter::Interpreter(const Program& program, Runtime& runtime, bool tracked)
    : program_(program), runtime_(runtime), tracked_(tracked), root_(std::make_shared<Scope>(nullptr)) {
  for (const auto& [name, value] : global_functions()) define(name, value);
}

void Interpreter::define(const std::string& name, const Value& value) {
  const Symbol symbol = program_.symbols.find(name);
  if (symbol >= 0) root_->set(symbol, value);
}

ScopePtr Interpreter::inner(const ScopePtr& scope, const std::vector<Symbol>& hidden) const {
  auto out = std::make_shared<Scope>(scope);
  for (const Symbol symbol : hidden) out->set(symbol, undefined_name(program_.symbols.name(symbol)));
  return out;
}

Text Interpreter::run() {
  for (const Symbol symbol : program_.hidden)
    root_->set(symbol, undefined_name(program_.symbols.name(symbol)));
  Text out;
  execute(program_.body, root_, out);
  return out;
}

Interpreter::Flow Interpreter::execute(const Body& body, const ScopePtr& scope, Text& out) {
  const Budget::Level level(runtime_.budget);
  for (const auto& statement : body) {
    const Flow flow = execute(*statement, scope, out);
    if (flow != Flow::kOn) return flow;
  }
  return Flow::kOn;
}

void Interpreter::print(const Value& value, Text& out) {
  Text text = to_text(value, runtime_.budget);
  runtime_.budget.allocate(text.size());
  if (tracked_) text.mark_piece(++piece_);
  out.append(text);
}

Interpreter::Flow Interpreter::execute(const Statement& node, const ScopePtr& scope, Text& out) {
  using Kind = Statement::Kind;
  runtime_.budget.step();
  line_ = node.line;
  switch (node.kind) {
    case Kind::kData:
      print(node.data, out);
      break;
    case Kind::kOutput:
      print(evaluate(*node.value, *scope), out);
      break;
    case Kind::kIf:
      return execute(evaluate(*node.value, *scope).truth() ? node.body : node.otherwise, scope, out);
    case Kind::kFor: {
      const Value items = evaluate(*node.value, *scope);
      return run_loop(node, items, scope, 0, out);
    }
    case Kind::kSet:
      return execute_set(node, scope);
    case Kind::kSetBlock:
      return execute_set_block(node, scope);
    case Kind::kMacro:
      scope->set(node.symbol,
                 std::shared_ptr<Object>(runtime_.keep(std::make_shared<Macro>(*this, node, scope))));
      break;
    case Kind::kCall:
      execute_call(node, scope, out);
      break;
    case Kind::kFilter:
      return execute_filter(node, scope, out);
    case Kind::kWith:
      return execute_with(node, scope, out);
    case Kind::kGeneration:
      return execute_generation(node, scope, out);
    case Kind::kBlock:  // sees the variables of the template, but not those of what it stands in, unless
                        // scoped
      return execute(node.body, inner(node.recursive ? scope : root_, node.hidden), out);
    case Kind::kBreak:
      return Flow::kBreak;
    case Kind::kContinue:
      return Flow::kContinue;
    case Kind::kUnsupported:
      refuse("the tag {% ", node.name, " %} is not one that lrqat has");
  }
  return Flow::kOn;
}

Interpreter::Flow Interpreter::execute_with(const Statement& node, const ScopePtr& scope, Text& out) {
  const auto variables = inner(scope, node.hidden);
  for (const auto& [target, value] : node.assignments) assign(*target, evaluate(*value, *scope), *variables);
  return execute(node.body, variables, out);
}

Interpreter::Flow Interpreter::execute_set(const Statement& node, const ScopePtr& scope) {
  check_namespaces(*node.target, *scope);
  const Value value = evaluate(*node.value, *scope);
  line_ = node.line;
  assign(*node.target, value, *scope);
  return Flow::kOn;
}

Interpreter::Flow Interpreter::execute_set_block(const Statement& node, const ScopePtr& scope) {
  const auto variables = inner(scope, node.hidden);
  Text text;
  const Flow flow = execute(node.body, variables, text);
  if (flow != Flow::kOn) return flow;
  const Value value =
      node.value != nullptr ? with_block_text(*node.value, *variables, text) : Value(std::move(text));
  assign(*node.target, value, *scope);
  return flow;
}

Interpreter::Flow Interpreter::execute_filter(const Statement& node, const ScopePtr& scope, Text& out) {
  const auto variables = inner(scope, node.hidden);
  Text text;
  const Flow flow = execute(node.body, variables, text);
  if (flow == Flow::kOn) print(with_block_text(*node.value, *variables, text), out);
  return flow;
}

Value Interpreter::with_block_text(const Expression& filter, Scope& scope, const Text& text) {
  const Text* outer = block_text_;
  block_text_ = &text;
  Value value = evaluate(filter, scope);
  block_text_ = outer;
  return value;
}

Interpreter::Flow Interpreter::execute_generation(const Statement& node, const ScopePtr& scope, Text& out) {
  Text text;
  const Flow flow = execute(node.body, inner(scope, node.hidden), text);
  if (tracked_) text.mark_generation();
  print(std::move(text), out);
  return flow;
}

void Interpreter::execute_call(const Statement& node, const ScopePtr& scope, Text& out) {
  const Value caller(std::shared_ptr<Object>(runtime_.keep(std::make_shared<Macro>(*this, node, scope))));
  print(evaluate_call(*node.value, *scope, &caller), out);
}

void Interpreter::check_namespaces(const Expression& target, Scope& scope) {
  for (const auto& child : target.children) check_namespaces(*child, scope);
  if (target.kind != Expression::Kind::kNamespace) return;
  if (lookup(target, scope).object_as<Namespace>() == nullptr)
    refuse("cannot assign attribute on non-namespace object");
}

void Interpreter::assign_attribute(const Expression& target, const Value& value, Scope& scope) {
  const Value holder = lookup(target, scope);
  auto* space = holder.object_as<Namespace>();
  if (space == nullptr) refuse("cannot assign attribute on non-namespace object");
  space->set(target.attribute, value);
}

void Interpreter::assign(const Expression& target, const Value& value, Scope& scope) {
  if (target.kind == Expression::Kind::kName) return scope.set(target.symbol, value);
  if (target.kind == Expression::Kind::kNamespace) return assign_attribute(target, value, scope);
  const std::vector<Value> items = to_items(value, runtime_.budget);
  if (items.size() != target.children.size()) {
    refuse(items.size() > target.children.size() ? "too many" : "not enough", " values to unpack (expected ",
           target.children.size(), ", got ", items.size(), ")");
  }
  for (std::size_t i = 0; i < items.size(); ++i) assign(*target.children[i], items[i], scope);
}

// The items for which the loop's condition holds, found one by one.
Iterator Interpreter::filtered(const Statement& node, const Value& items, const ScopePtr& scope) {
  return [this, &node, source = iterate(items), scope]() -> std::optional<Value> {
    while (auto item = source()) {
      runtime_.budget.step();
      Scope variables(scope);
      assign(*node.target, *item, variables);
      if (evaluate(*node.condition, variables).truth()) return item;
    }
    return std::nullopt;
  };
}

Interpreter::Flow Interpreter::run_loop(const Statement& node, const Value& items, const ScopePtr& scope,
                                        std::int64_t depth, Text& out) {
  const Budget::Level level(runtime_.budget);
  Iterator source = node.condition != nullptr ? filtered(node, items, scope) : iterate(items);
  const auto loop = std::make_shared<Loop>(*this, node, scope, std::move(source),
                                           node.condition != nullptr ? nullptr : &items, depth);
  const Value loop_value{std::shared_ptr<Object>(loop)};
  bool finished =
      false;  // an item's whole body ran: as in jinja2, else follows also where every one was cut short
  while (const auto item = loop->next()) {
    runtime_.budget.step();
    const auto variables = inner(scope, node.hidden);
    assign(*node.target, *item, *variables);
    variables->set(program_.loop, loop_value);
    const Flow flow = execute(node.body, variables, out);
    if (flow == Flow::kBreak) break;
    finished = finished || flow == Flow::kOn;
  }
  if (finished || node.otherwise.empty()) return Flow::kOn;
  return execute(node.otherwise, inner(scope, node.hidden_otherwise), out);
}

}  // namespace lrqat::chat
