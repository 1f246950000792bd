// Runs a parsed template.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "lrqat/chat/syntax.h"

namespace lrqat::chat {

// Variables: those of a block, and around it those of the blocks that it stands in.
class Scope {
 public:
  explicit Scope(std::shared_ptr<Scope> parent) : parent_(std::move(parent)) {}

  const Value* find(Symbol symbol) const;  // nullptr: nowhere
  void set(Symbol symbol, Value value);

 private:
  std::shared_ptr<Scope> parent_;
  std::vector<std::pair<Symbol, Value>> names_;
};

using ScopePtr = std::shared_ptr<Scope>;

// What raise_exception says.
class Refusal : public Failure {
 public:
  using Failure::Failure;
};

class Interpreter {
 public:
  // `tracked`: what is written inside {% generation %} is marked.
  Interpreter(const Program& program, Runtime& runtime, bool tracked);

  void define(const std::string& name, const Value& value);
  Text run();
  int line() const { return line_; }  // of what ran last
  Runtime& runtime() { return runtime_; }

  // For macros and loops.
  enum class Flow { kOn, kBreak, kContinue };
  Flow execute(const Body& body, const ScopePtr& scope, Text& out);
  Value evaluate(const Expression& node, Scope& scope);
  Flow run_loop(const Statement& node, const Value& items, const ScopePtr& scope, std::int64_t depth,
                Text& out);
  const Program& program() const { return program_; }
  // The variables of a block that begins: the hidden ones are undefined.
  ScopePtr inner(const ScopePtr& scope, const std::vector<Symbol>& hidden) const;

 private:
  Flow execute(const Statement& node, const ScopePtr& scope, Text& out);
  Flow execute_with(const Statement& node, const ScopePtr& scope, Text& out);
  Flow execute_set(const Statement& node, const ScopePtr& scope);
  Flow execute_set_block(const Statement& node, const ScopePtr& scope);
  Flow execute_filter(const Statement& node, const ScopePtr& scope, Text& out);
  Flow execute_generation(const Statement& node, const ScopePtr& scope, Text& out);
  void execute_call(const Statement& node, const ScopePtr& scope, Text& out);
  void print(const Value& value, Text& out);
  void assign(const Expression& target, const Value& value, Scope& scope);
  void assign_attribute(const Expression& target, const Value& value, Scope& scope);
  void check_namespaces(const Expression& target, Scope& scope);
  Value lookup(const Expression& node, const Scope& scope) const;
  Iterator filtered(const Statement& node, const Value& items, const ScopePtr& scope);

  Value evaluate_pair(const Expression& node, Scope& scope);  // a + b, a[b]
  Value evaluate_condition(const Expression& node, Scope& scope);
  Value evaluate_dict(const Expression& node, Scope& scope);
  Value evaluate_concat(const Expression& node, Scope& scope);
  bool evaluate_compare(const Expression& node, Scope& scope);
  Value evaluate_slice(const Expression& node, Scope& scope);
  Value evaluate_call(const Expression& node, Scope& scope, const Value* caller);
  Value evaluate_filter(const Expression& node, Scope& scope);
  bool evaluate_test(const Expression& node, Scope& scope);
  std::vector<Value> evaluate_all(const Expression& node, Scope& scope, std::size_t first = 0);
  Arguments evaluate_arguments(const Expression& node, Scope& scope);
  Value with_block_text(const Expression& filter, Scope& scope, const Text& text);

  const Program& program_;
  Runtime& runtime_;
  bool tracked_;
  ScopePtr root_;
  int line_ = 1;
  std::uint32_t piece_ = 0;
  const Text* block_text_ = nullptr;  // what a filter block or a set block has written
};

// The functions that every template can call.
std::vector<std::pair<std::string, Value>> global_functions();

}  // namespace lrqat::chat
