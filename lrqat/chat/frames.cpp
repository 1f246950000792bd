// jinja2 decides before a template runs where each name of a block lies. Seen from outside there is one trace
// of it: a name that a block assigns before it reads it, and that no block around it knows, is undefined
// until it is assigned, also for the blocks inside, although the conversation may have a variable of that
// name. Here those names are found (jinja2's idtracking.py).
#include <map>
#include <set>

#include "lrqat/chat/syntax.h"

namespace lrqat::chat {
namespace {

enum class Load { kParameter, kOuter, kResolve, kUndefined };

struct Frame {
  const Frame* parent;
  std::map<Symbol, Load> names;
  std::set<Symbol> stored;

  bool knows(Symbol symbol) const {
    return names.contains(symbol) || (parent != nullptr && parent->knows(symbol));
  }
  bool is_known_outside(Symbol symbol) const { return parent != nullptr && parent->knows(symbol); }

  void load(Symbol symbol) {
    if (!knows(symbol)) names[symbol] = Load::kResolve;
  }
  void store(Symbol symbol) {
    stored.insert(symbol);
    names.try_emplace(symbol, is_known_outside(symbol) ? Load::kOuter : Load::kUndefined);
  }
  void declare(Symbol symbol) {
    stored.insert(symbol);
    names[symbol] = Load::kParameter;
  }
  // Of two branches, each a copy of this frame to which something was added.
  void join(const Frame& first, const Frame& second) {
    const std::set<Symbol> before = stored;
    for (const Frame* branch : {&first, &second}) {
      for (const auto& [symbol, how] : branch->names) names[symbol] = how;
      stored.insert(branch->stored.begin(), branch->stored.end());
    }
    for (const Symbol symbol : stored) {
      if (!before.contains(symbol)) names[symbol] = is_known_outside(symbol) ? Load::kOuter : Load::kResolve;
    }
  }
  std::vector<Symbol> hidden() const {
    std::vector<Symbol> out;
    for (const auto& [symbol, how] : names) {
      if (how == Load::kUndefined) out.push_back(symbol);
    }
    return out;
  }
};

void read(Frame& frame, const Expression* node) {
  if (node == nullptr) return;
  if (node->kind == Expression::Kind::kName) frame.load(node->symbol);
  for (const auto& child : node->children) read(frame, child.get());
  for (const auto& [name, value] : node->named) read(frame, value.get());
  read(frame, node->rest.get());
  read(frame, node->named_rest.get());
}

void write(Frame& frame, const Expression& target, bool as_parameter) {
  for (const auto& child : target.children) write(frame, *child, as_parameter);
  if (target.kind == Expression::Kind::kNamespace) frame.load(target.symbol);
  if (target.kind != Expression::Kind::kName) return;
  if (as_parameter) {
    frame.declare(target.symbol);
  } else {
    frame.store(target.symbol);
  }
}

void visit(Frame& frame, const Body& body);

// What a statement reads and assigns in the block that it stands in; not what its own block does.
void visit(Frame& frame, const Statement& node) {
  using Kind = Statement::Kind;
  switch (node.kind) {
    case Kind::kIf: {
      read(frame, node.value.get());
      Frame first = frame, second = frame;
      visit(first, node.body);
      visit(second, node.otherwise);
      return frame.join(first, second);
    }
    case Kind::kSet:
      read(frame, node.value.get());
      return write(frame, *node.target, false);
    case Kind::kSetBlock:
      return write(frame, *node.target, false);
    case Kind::kMacro:
      return frame.store(node.symbol);
    case Kind::kWith:
      for (const auto& [target, value] : node.assignments) read(frame, value.get());
      return;
    default:
      read(frame, node.value.get());
  }
}

void visit(Frame& frame, const Body& body) {
  for (const auto& statement : body) visit(frame, *statement);
}

class Analysis {
 public:
  explicit Analysis(Program& program) : program_(program) {}

  void run() {
    Frame root{nullptr, {}, {}};
    program_.hidden = finish(root, program_.body);
  }

 private:
  // Visits a block whose parameters are declared already, and the blocks inside it.
  std::vector<Symbol> finish(Frame& frame, Body& body) {
    visit(frame, body);
    inside(frame, body);
    return frame.hidden();
  }

  void inside(const Frame& frame, Body& body) {
    for (auto& statement : body) inside(frame, *statement);
  }

  void inside(const Frame& frame, Statement& node) {
    using Kind = Statement::Kind;
    Frame inner{&frame, {}, {}};
    switch (node.kind) {
      case Kind::kIf:
        inside(frame, node.body);
        return inside(frame, node.otherwise);
      case Kind::kFor: {
        inner.declare(program_.loop);
        write(inner, *node.target, true);
        node.hidden = finish(inner, node.body);
        Frame other{&frame, {}, {}};
        node.hidden_otherwise = finish(other, node.otherwise);
        return;
      }
      case Kind::kMacro:
      case Kind::kCall: {
        for (const Parameter& parameter : node.signature.parameters) inner.declare(parameter.symbol);
        for (const Parameter& parameter : node.signature.parameters) read(inner, parameter.fallback.get());
        node.hidden = finish(inner, node.body);
        return;
      }
      case Kind::kFilter:
        read(inner, node.value.get());
        node.hidden = finish(inner, node.body);
        return;
      case Kind::kWith:
        for (const auto& [target, value] : node.assignments) write(inner, *target, true);
        node.hidden = finish(inner, node.body);
        return;
      case Kind::kBlock:
        inner.parent = nullptr;
        [[fallthrough]];
      case Kind::kSetBlock:
      case Kind::kGeneration:
        node.hidden = finish(inner, node.body);
        return;
      default:
        return;
    }
  }

  Program& program_;
};

}  // namespace

void find_hidden_names(Program& program) { Analysis(program).run(); }

}  // namespace lrqat::chat
