#pragma once

#include "lrqat/chat/interpreter.h"

namespace lrqat::chat {

// {% macro %}, and the body of {% call %}.
class Macro : public Object {
 public:
  Macro(Interpreter& interpreter, const Statement& node, ScopePtr closure)
      : interpreter_(interpreter), node_(node), closure_(std::move(closure)) {}

  std::string type_name() const override { return "Macro"; }
  std::string text(Budget&) const override;
  std::optional<Value> attribute(const std::string& name) override;
  bool callable() const override { return true; }
  Value call(Runtime& runtime, Arguments arguments) override;
  void forget() override { closure_.reset(); }

 private:
  void bind(Scope& scope, Arguments& arguments) const;
  void bind_caller(Scope& scope, Arguments& arguments) const;

  Interpreter& interpreter_;
  const Statement& node_;
  ScopePtr closure_;
};

// The variable `loop`.
class Loop : public Object, public std::enable_shared_from_this<Loop> {
 public:
  // `items`: for its length; nullptr where the items are chosen by a condition.
  Loop(Interpreter& interpreter, const Statement& node, ScopePtr scope, Iterator source, const Value* items,
       std::int64_t depth)
      : interpreter_(interpreter),
        node_(node),
        scope_(std::move(scope)),
        source_(std::move(source)),
        items_(items == nullptr ? Value() : *items),
        sized_(items != nullptr),
        depth_(depth) {}

  std::optional<Value> next();

  std::string type_name() const override { return "LoopContext"; }
  std::string text(Budget&) const override;
  bool truth() override { return loop_length() > 0; }
  std::optional<Value> attribute(const std::string& name) override;
  bool callable() const override { return true; }
  Value call(Runtime& runtime, Arguments arguments) override;
  std::optional<std::size_t> length() override { return static_cast<std::size_t>(loop_length()); }
  int depth() const override { return items_.depth() + 1; }

 private:
  std::int64_t loop_length();
  const std::optional<Value>& peek();
  Value cycle(Arguments arguments, Budget&);
  Value changed(Arguments arguments, Budget& budget);

  Interpreter& interpreter_;
  const Statement& node_;
  ScopePtr scope_;
  Iterator source_;
  Value items_;
  bool sized_;
  std::int64_t depth_;
  std::int64_t index0_ = -1;
  std::optional<std::int64_t> length_;
  std::optional<Value> after_;
  bool peeked_ = false;
  Value before_, current_;
  std::optional<Value> last_changed_;
};

}  // namespace lrqat::chat
